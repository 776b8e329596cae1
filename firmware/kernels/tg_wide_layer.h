/* What layers of int16 activations and int8 weights share. */
#ifndef TG_WIDE_LAYER_H
#define TG_WIDE_LAYER_H

#include <stdint.h>

/* What these layers share. bias and wide_bias: one of them is NULL, or both. If wraps is set, sums wrap at 32
 * bits, and multiplier and shift are those of tg_multiply; otherwise those of tg_wide_scale. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const int64_t *wide_bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int16_t act_min, act_max;
    int32_t wraps;
} tg_wide_layer_t;

#endif
