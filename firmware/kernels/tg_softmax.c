/* Softmax in gemmlowp's fixed point, as TensorFlow Lite Micro's int8 reference computes it. */
#include "tg_exponential.h"
#include "tg_kernels.h"

static int32_t exp_of_difference(const tg_softmax_t *p, int32_t difference)
{
    return tg_exp_of_negative(tg_high_mul(tg_shift_left(difference, p->left_shift), p->multiplier));
}

TG_SMALL static void softmax_row(const tg_softmax_t *p, const int8_t *in, int8_t *out)
{
    int32_t greatest = INT8_MIN;
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < p->depth; i++) {
        greatest = tg_max(greatest, in[i]);
    }
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - greatest;
        if (difference >= p->diff_min) {
            sum += tg_round_shift(exp_of_difference(p, difference), TG_SUM_INTEGER_BITS);
        }
    }
    const int32_t headroom = tg_leading_zeros((uint32_t)sum);
    const int32_t fraction = (int32_t)(((uint32_t)sum << (uint32_t)headroom) - (UINT32_C(1) << 31));
    const int32_t scale = tg_reciprocal_of_one_plus(fraction);
    /* This exceeds 31 if more than 511 inputs share the maximum. TFLM aborts then; here their shares, which
     * are below 1/512, become 0. */
    const int32_t right = TG_SUM_INTEGER_BITS - headroom + 31 - 8;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t difference = in[i] - greatest;
        int32_t value = INT8_MIN;
        if ((difference >= p->diff_min) && (right <= 31)) {
            value += tg_round_shift(tg_high_mul(scale, exp_of_difference(p, difference)), right);
        }
        out[i] = tg_clamp(value, INT8_MIN, INT8_MAX);
    }
}

void tg_softmax(const tg_softmax_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        softmax_row(p, in + (row * p->depth), out + (row * p->depth));
    }
}
