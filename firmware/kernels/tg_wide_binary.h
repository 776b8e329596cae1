/* Elementwise functions of two int16 tensors, with broadcasting. */
#ifndef TG_WIDE_BINARY_H
#define TG_WIDE_BINARY_H

#include "tg_kernels.h"

#include <stdint.h>

#define TG_WIDE_BINARY_AXES 4

/* The output is walked in order; a step of 0 repeats an operand along an axis. Unused axes come first and have size 1.
 * ADD and SUB rescale both operands (scale_a, scale_b, with 15 bits of headroom) and then the result (scale_out);
 * SQUARED_DIFFERENCE does without headroom. MUL rescales the product (scale_out). MAXIMUM and MINIMUM do not rescale. */
typedef struct {
    int32_t sizes[TG_WIDE_BINARY_AXES];
    int32_t steps_a[TG_WIDE_BINARY_AXES], steps_b[TG_WIDE_BINARY_AXES];
    tg_scale_t scale_a, scale_b, scale_out;
    int16_t act_min, act_max;
} tg_wide_binary_t;

/* An element of each operand is read before one is written, so out may be an operand that is not repeated. */
void tg_wide_add(const tg_wide_binary_t *p, const void *a, const void *b, void *out);
void tg_wide_sub(const tg_wide_binary_t *p, const void *a, const void *b, void *out);
void tg_wide_mul(const tg_wide_binary_t *p, const void *a, const void *b, void *out);
void tg_wide_squared_difference(const tg_wide_binary_t *p, const void *a, const void *b, void *out);
void tg_wide_maximum(const tg_wide_binary_t *p, const void *a, const void *b, void *out);
void tg_wide_minimum(const tg_wide_binary_t *p, const void *a, const void *b, void *out);

#endif
