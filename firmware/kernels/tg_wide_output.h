/* Turns a sum of int16 activations times int8 weights into int16. */
#ifndef TG_WIDE_OUTPUT_H
#define TG_WIDE_OUTPUT_H

#include "tg_wide.h"
#include "tg_wide_layer.h"

#include <stddef.h>

static inline int16_t tg_wide_output(const tg_wide_layer_t *layer, int32_t channel, int64_t sum)
{
    const int32_t multiplier = layer->multiplier[channel];
    const int32_t shift = layer->shift[channel];
    int64_t acc = sum;
    if (layer->wide_bias != NULL) {
        acc += layer->wide_bias[channel];
    } else if (layer->bias != NULL) {
        acc += layer->bias[channel];
    }
    const int32_t scaled = (layer->wraps != 0)
                               ? tg_multiply((int32_t)(uint32_t)(uint64_t)acc, multiplier, shift)
                               : tg_wide_scale(acc, multiplier, shift);
    return tg_wide_clamp(scaled, layer->act_min, layer->act_max);
}

#endif
