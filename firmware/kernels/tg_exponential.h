/* gemmlowp's fixed-point exponential and reciprocal, which softmax and its logarithm share.
 *
 * Qm.n below is a signed number with m integer and n fraction bits, m + n = 31.
 */
#ifndef TG_EXPONENTIAL_H
#define TG_EXPONENTIAL_H

#include "tg_fixed.h"

#define TG_SUM_INTEGER_BITS 12
#define TG_SMALL __attribute__((cold, unused)) /* softmax has few elements, so size matters more than time */

/* a * 2^bits, saturated. */
TG_SMALL static int32_t tg_saturating_shift_left(int32_t a, int32_t bits)
{
    const int32_t limit = (int32_t)((UINT32_C(1) << (31u - (uint32_t)bits)) - 1u);
    if (a > limit) {
        return INT32_MAX;
    }
    if (a < -limit) {
        return INT32_MIN;
    }
    return tg_shift_left(a, bits);
}

/* exp(a) for a in [-1/4, 0), Q0.31 -> Q0.31, by a Taylor series of fourth order around -1/8. */
TG_SMALL static int32_t tg_exp_of_last_quarter(int32_t a)
{
    const int32_t exp_of_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    const int32_t x = a + (INT32_C(1) << 28);
    const int32_t x2 = tg_high_mul(x, x);
    const int32_t x3 = tg_high_mul(x2, x);
    const int32_t x4 = tg_high_mul(x2, x2);
    const int32_t higher =
        tg_round_shift(tg_high_mul(tg_round_shift(x4, 2) + x3, third) + x2, 1); /* x^4/24 + x^3/6 + x^2/2 */
    return exp_of_minus_eighth + tg_high_mul(exp_of_minus_eighth, x + higher);
}

/* exp(a) for a <= 0, Q5.26 -> Q0.31. The series covers the last quarter, and each further bit of a
 * contributes a constant factor. */
TG_SMALL static int32_t tg_exp_of_negative(int32_t a)
{
    /* exp(-2^i) in Q0.31 for i = -2 ... 4 */
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = INT32_C(1) << 24;
    const int32_t in_last_quarter = (a & (quarter - 1)) - quarter;
    const int32_t rest = in_last_quarter - a;
    if (a == 0) {
        return INT32_MAX;
    }
    int32_t result = tg_exp_of_last_quarter(tg_shift_left(in_last_quarter, 5));
    for (int32_t i = 0; i < 7; i++) {
        if (((rest >> (24 + i)) & 1) != 0) {
            result = tg_high_mul(result, factors[i]);
        }
    }
    return result;
}

/* 1 / (1 + a) for a in [0, 1), Q0.31 -> Q0.31, by three Newton-Raphson steps on half the denominator. */
TG_SMALL static int32_t tg_reciprocal_of_one_plus(int32_t a)
{
    const int32_t one_q2 = INT32_C(1) << 29;
    const int32_t half_denominator = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + tg_high_mul(half_denominator, -1010580540); /* 48/17 - 32/17 d, Q2.29 */
    for (int32_t step = 0; step < 3; step++) {
        const int32_t error = one_q2 - tg_high_mul(half_denominator, x);
        x += tg_saturating_shift_left(tg_high_mul(x, error), 2);
    }
    return tg_saturating_shift_left(x, 1);
}

TG_SMALL static int32_t tg_leading_zeros(uint32_t value)
{
    int32_t count = 0;
    for (uint32_t bit = UINT32_C(1) << 31; (bit != 0u) && ((value & bit) == 0u); bit >>= 1) {
        count++;
    }
    return count;
}

#endif
