/* Elementwise functions of two tensors, with broadcasting. */
#ifndef TG_BINARY_H
#define TG_BINARY_H

#include "tg_kernels.h"

#include <stdint.h>

#define TG_BINARY_AXES 4

/* The output is walked in order; a step of 0 repeats an operand along an axis. Unused axes come first and
 * have size 1. ADD and SUB rescale both operands (scale_a, scale_b, with 20 bits of headroom) and then the
 * result (scale_out). MUL rescales the product (scale_out). PRELU rescales a by scale_a if a >= 0, otherwise
 * a * b by scale_b. SQUARED_DIFFERENCE rescales the operands with 7 bits of headroom, and the square of their
 * difference. MAXIMUM and MINIMUM do not rescale. */
typedef struct {
    int32_t sizes[TG_BINARY_AXES];
    int32_t steps_a[TG_BINARY_AXES], steps_b[TG_BINARY_AXES];
    int32_t zero_point_a, zero_point_b;
    tg_scale_t scale_a, scale_b, scale_out;
    int32_t out_zero_point, act_min, act_max;
} tg_binary_t;

/* An element of each operand is read before one is written, so out may be an operand that is not repeated. */
void tg_binary_add(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_sub(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_mul(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_prelu(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_maximum(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_minimum(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void tg_binary_squared_difference(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif
