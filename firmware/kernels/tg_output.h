/* From a convolution's sum to its int8 output. */
#ifndef TG_OUTPUT_H
#define TG_OUTPUT_H

#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>

/* Where a kernel writes; accumulators is NULL except in the layer that gives the logits. */
typedef struct {
    int8_t *out;
    int32_t *accumulators;
} tg_sink_t;

/* magnitude: NULL for int8 weights, else one factor a channel, which the trits' sum still lacks. */
static inline void tg_output(const tg_weighted_t *layer, const uint8_t *magnitude, int32_t channel,
                             int32_t sum, tg_sink_t sink, int32_t element)
{
    const tg_requant_t *q = &layer->requant;
    const int32_t weighted = (magnitude != NULL) ? (sum * magnitude[channel]) : sum;
    const int32_t acc = tg_add_wrap(weighted, layer->bias[channel]);
    const int32_t scaled = tg_multiply(acc, q->multiplier[channel], q->shift[channel]);
    if (sink.accumulators != NULL) {
        sink.accumulators[element] = acc;
    }
    sink.out[element] = tg_clamp(tg_add_wrap(scaled, q->zero_point), q->act_min, q->act_max);
}

#endif
