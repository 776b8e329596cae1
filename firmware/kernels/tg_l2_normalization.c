/* Rows divided by their lengths in gemmlowp's fixed point, as TensorFlow Lite Micro's int8 reference computes it. */
#include "tg_l2_normalization.h"

#include "tg_exponential.h"

#define OUTPUT_BITS 7 /* a step of the output is 2^-7 */

/* 1 / sqrt(sum) is multiplier / 2^31 * 2^shift. */
typedef struct {
    int32_t multiplier, shift;
} inverse_t;

/* By five Newton-Raphson steps in Q3.28, from 1, on the sum brought to [1/4, 1). */
TG_SMALL static inverse_t inverse_root(int32_t sum)
{
    const int32_t half_of_three = (INT32_C(1) << 28) + (INT32_C(1) << 27);
    const int32_t root = 1518500250; /* sqrt(1/2) */
    inverse_t result = {INT32_MAX, 0};
    if (sum <= 1) { /* 0 counts as 1 */
        return result;
    }
    int32_t right = 11;
    while (sum >= (INT32_C(1) << 29)) {
        sum /= 4;
        right++;
    }
    const int32_t pairs = ((tg_leading_zeros((uint32_t)sum) - 1) / 2) - 1;
    const int32_t half = tg_round_shift(tg_shift_left(sum, 2 * pairs) >> 1, 1);
    int32_t x = INT32_C(1) << 28;
    for (int32_t step = 0; step < 5; step++) {
        const int32_t cube = tg_saturating_shift_left(tg_high_mul(tg_high_mul(x, x), x), 6);
        const int32_t next = tg_add_wrap(tg_high_mul(half_of_three, x), -tg_high_mul(half, cube));
        x = tg_saturating_shift_left(next, 3);
    }
    x = tg_high_mul(x, root);
    right -= pairs;
    result.multiplier = tg_shift_left(x, tg_max(-right, 0));
    result.shift = -tg_max(right, 0);
    return result;
}

static void normalized_row(const tg_l2_normalization_t *p, const int8_t *in, int8_t *out)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t x = in[i] - p->zero_point;
        sum += x * x;
    }
    const inverse_t inverse = inverse_root(sum);
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t x = in[i] - p->zero_point;
        out[i] =
            tg_clamp(tg_multiply(x, inverse.multiplier, inverse.shift + OUTPUT_BITS), INT8_MIN, INT8_MAX);
    }
}

void tg_l2_normalization(const tg_l2_normalization_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        normalized_row(p, in + (row * p->depth), out + (row * p->depth));
    }
}
