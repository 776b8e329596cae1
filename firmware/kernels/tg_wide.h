/* Arithmetic of kernels with int16 activations. Their tensors lie in the same memory as those of int8, are aligned to
 * two bytes, and have zero point 0. */
#ifndef TG_WIDE_H
#define TG_WIDE_H

#include "tg_fixed.h"

/* Clamp to a range within that of int16. */
static inline int16_t tg_wide_clamp(int32_t value, int32_t low, int32_t high)
{
    return (int16_t)tg_min(tg_max(value, low), high);
}

/* round(acc * multiplier / 2^shift), halves up, for sums below 2^47: TensorFlow Lite Micro rounds 64-bit sums
 * once, by a multiplier of 15 bits. */
static inline int32_t tg_wide_scale(int64_t acc, int32_t multiplier, int32_t shift)
{
    const int64_t half = INT64_C(1) << (shift - 1);
    return (int32_t)(uint32_t)(uint64_t)(((acc * multiplier) + half) >> shift);
}

/* The most products of int16 and int8 whose sum fits 32 bits, whatever they are. */
#define TG_WIDE_TERMS 511

static inline int64_t tg_wide_dot(const int16_t *x, const int8_t *weights, int32_t count)
{
    int64_t total = 0;
    while (count > 0) {
        const int32_t terms = tg_min(count, TG_WIDE_TERMS);
        int32_t sum = 0;
        for (int32_t i = 0; i < terms; i++) {
            sum += (int32_t)x[i] * weights[i];
        }
        total += sum;
        x += terms;
        weights += terms;
        count -= terms;
    }
    return total;
}

#endif
