/* The logarithm of a softmax in gemmlowp's fixed point, as TensorFlow Lite Micro's int8 reference computes it. */
#include "tg_log_softmax.h"

#include "tg_exponential.h"

/* log(a) for a in [1, 4096), Q12.19 -> Q5.26. a is r * 2^e with r around sqrt(sqrt(1/2)); of a and of a * sqrt(1/2)
 * the one is taken whose r is the lesser. A quotient of polynomials in r gives its logarithm, and e times log(2) the
 * rest. Sums are kept in Q6.25. */
TG_SMALL static int32_t log_of_sum(int32_t a)
{
    const int32_t log_2 = 1488522236;
    const int32_t root = 1518500250;          /* sqrt(1/2) */
    const int32_t root_of_root = 1805811301;  /* sqrt(sqrt(1/2)) */
    const int32_t quarter = INT32_C(1) << 23; /* 1/4 in Q6.25 */
    const int32_t numerator_3 = 117049297;    /* 11/240 * 2^(1/4) */
    const int32_t denominator_2 = 127690142;  /* 1/20 * 2^(1/4) */
    const int32_t denominator_0 = 1057819769; /* 2 / 2^(1/4) - 2^(1/4) */
    const int32_t denominator_1 = 638450708;  /* 1/4 * 2^(1/4) */

    const int32_t zeros = tg_leading_zeros((uint32_t)a);
    const int32_t r_a = tg_saturating_shift_left(tg_high_mul(tg_shift_left(a, zeros - 1), root), 1);
    const int32_t e_a = tg_shift_left(TG_SUM_INTEGER_BITS - zeros, 25) + quarter;
    const int32_t headroom = tg_leading_zeros((uint32_t)tg_high_mul(a, root)) - 1;
    const int32_t r_b = tg_saturating_shift_left(a, headroom);
    const int32_t e_b = tg_shift_left(TG_SUM_INTEGER_BITS - headroom, 25) - quarter;
    const int32_t r = tg_min(r_a, r_b);

    const int32_t middle = (int32_t)(((int64_t)r + root_of_root + 1) / 2);
    const int32_t q = 2 * (r - root_of_root);
    const int32_t q2 = tg_high_mul(q, q);
    const int32_t numerator = tg_high_mul(q, r) + tg_high_mul(tg_high_mul(q, q2), numerator_3);
    const int32_t denominator = tg_high_mul(middle, denominator_0 + q + tg_high_mul(denominator_2, q2)) +
                                tg_high_mul(denominator_1, q);
    const int32_t of_r = tg_high_mul(tg_round_shift(numerator, 6), tg_reciprocal_of_one_plus(denominator));
    return tg_saturating_shift_left(tg_high_mul(tg_max(e_a, e_b), log_2) + of_r, 1);
}

static int32_t rescaled(const tg_log_softmax_t *p, int32_t difference)
{
    return tg_multiply(difference, p->multiplier, p->left_shift);
}

TG_SMALL static void log_softmax_row(const tg_log_softmax_t *p, const int8_t *in, int8_t *out)
{
    int32_t greatest = INT8_MIN;
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < p->depth; i++) {
        greatest = tg_max(greatest, in[i]);
    }
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - greatest;
        if (difference >= p->diff_min) {
            sum += tg_round_shift(tg_exp_of_negative(rescaled(p, difference)), TG_SUM_INTEGER_BITS);
        }
    }
    const int32_t log_sum = log_of_sum(sum);
    /* Down to here a difference minus log_sum fits Q5.26. */
    const int32_t lowest = tg_multiply(log_sum + INT32_MIN, p->back_multiplier, p->back_shift);
    const int32_t least = tg_max(p->diff_min - 1, lowest);
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - greatest;
        int32_t value = INT8_MIN;
        if (difference > least) {
            value = tg_round_shift(tg_add_wrap(rescaled(p, difference), -log_sum), 22) + INT8_MAX;
        }
        out[i] = tg_clamp(value, INT8_MIN, INT8_MAX);
    }
}

void tg_log_softmax(const tg_log_softmax_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        log_softmax_row(p, in + (row * p->depth), out + (row * p->depth));
    }
}
