/* Fixed-point arithmetic with TensorFlow Lite Micro's rounding, bit for bit.
 *
 * TFLM rounds twice: first when a product is reduced to its high word, with halves up, then when that is
 * shifted right, with halves away from zero. Right shifts of negative numbers are arithmetic with every
 * compiler this is built with (GCC and Clang define them so). Sums that TFLM lets wrap are computed unsigned.
 */
#ifndef TG_FIXED_H
#define TG_FIXED_H

#include <stdint.h>

static inline int32_t tg_max(int32_t a, int32_t b)
{
    return (a > b) ? a : b;
}

static inline int32_t tg_min(int32_t a, int32_t b)
{
    return (a < b) ? a : b;
}

static inline int8_t tg_clamp(int32_t value, int32_t low, int32_t high)
{
    return (int8_t)tg_min(tg_max(value, low), high);
}

static inline int32_t tg_add_wrap(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t tg_shift_left(int32_t a, int32_t bits)
{
    return (int32_t)((uint32_t)a << (uint32_t)bits);
}

/* The low 32 bits of round(product / 2^31), halves up. The shift is logical because vector units have that
 * one; the bits in which it differs from an arithmetic shift are cut off. */
static inline int32_t tg_high_word(int64_t product)
{
    return (int32_t)(uint32_t)((uint64_t)(product + (INT64_C(1) << 30)) >> 31);
}

/* round(a * b / 2^31), halves up. The only overflow, (-1) * (-1) in Q0.31, saturates. */
static inline int32_t tg_high_mul(int32_t a, int32_t b)
{
    if ((a == INT32_MIN) && (b == INT32_MIN)) {
        return INT32_MAX;
    }
    return tg_high_word((int64_t)a * b);
}

/* round(a / 2^bits), halves away from zero; bits in [0, 31]. */
static inline int32_t tg_round_shift(int32_t a, int32_t bits)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << (uint32_t)bits) - 1u);
    const int32_t threshold = (mask >> 1) + ((a < 0) ? 1 : 0);
    return (a >> bits) + (((a & mask) > threshold) ? 1 : 0);
}

/* a * multiplier / 2^31 * 2^shift; multiplier >= 0, shift in [-31, 30]. */
static inline int32_t tg_multiply(int32_t a, int32_t multiplier, int32_t shift)
{
    const int32_t left = tg_max(shift, 0);
    const int32_t right = tg_max(-shift, 0);
    return tg_round_shift(tg_high_mul(tg_shift_left(a, left), multiplier), right);
}

/* tg_multiply(acc, multiplier, -right) + zero point, for the sums of nearly all layers: there is no left
 * shift, 2 * acc fits 32 bits, and right is in [1, 22]. right may also be 0 if the clamp that follows cuts at
 * the zero point or above it, since for negative acc the result may then be one too low. Both roundings
 * become one addition,
 *
 *     offset = 2^(right - 1) + zero point * 2^right      (tg_scale_offset)
 *
 * and "halves away from zero" of the second rounding becomes a -1 for negative products. Taking the sign from
 * acc is exact: where a negative acc gives a high word of zero, (2^(right - 1) - 1) >> right is zero with or
 * without the -1. The sum fits 32 bits because |high word| <= 2^30 and |offset| <= 257 * 2^21 < 2^30.
 */
static inline int32_t tg_scale_narrow(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    const int32_t high = tg_high_word((int64_t)acc * multiplier);
    return (high + offset + (acc >> 31)) >> right;
}

static inline int32_t tg_scale_offset(int32_t zero_point, int32_t right)
{
    return tg_shift_left((2 * zero_point) + 1, right) >> 1;
}

#endif
