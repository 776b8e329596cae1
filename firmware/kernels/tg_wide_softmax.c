#include "tg_wide_softmax.h"

#include "tg_wide.h"

#include <stddef.h>

/* The curve on a straight line between two of its points; the first point is that of the lowest int16. */
static int32_t on_line(const int16_t *points, int32_t value)
{
    const int16_t *const low = points + ((value - INT16_MIN) >> 7);
    return low[0] + ((((low[1] - low[0]) * (value & 0x7F)) + 64) >> 7);
}

static int32_t leading_zeros(uint32_t value)
{
    int32_t count = 0;
    for (uint32_t bit = UINT32_C(1) << 31; (value & bit) == 0u; bit >>= 1) {
        count++;
    }
    return count;
}

/* The exponentials go to `out` first; their sum is at least that of the greatest element, so it is not 0. */
static uint32_t exponentials(const tg_wide_softmax_t *p, const int16_t *in, int16_t *out)
{
    uint32_t sum = 0;
    int32_t greatest = INT16_MIN;
    for (int32_t i = 0; i < p->depth; i++) {
        greatest = tg_max(greatest, in[i]);
    }
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t scaled = tg_multiply(in[i] - greatest, p->scale.multiplier, p->scale.shift);
        const int32_t value = on_line(p->exponential, tg_max(tg_add_wrap(scaled, INT16_MAX), INT16_MIN));
        out[i] = (int16_t)value;
        sum += (uint32_t)value;
    }
    return sum;
}

static void row(const tg_wide_softmax_t *p, const int16_t *in, int16_t *out)
{
    const uint32_t sum = exponentials(p, in, out);
    const int32_t zeros = leading_zeros(sum);
    const uint32_t top = ((sum << (uint32_t)(zeros - 1)) + (1u << 13)) >> 14; /* of 2^16 to 2^17 */
    const int32_t beyond = (int32_t)top - (1 << 16) + INT16_MIN;
    const int32_t inverse = on_line(p->reciprocal, tg_min(beyond, INT16_MAX));
    const int32_t right = 31 - zeros;
    for (int32_t i = 0; i < p->depth; i++) {
        const int32_t share = ((out[i] * inverse) + ((1 << right) >> 1)) >> right;
        out[i] = tg_wide_clamp(share, 0, INT16_MAX);
    }
}

void tg_wide_softmax(const tg_wide_softmax_t *p, const void *in, void *out)
{
    for (int32_t i = 0; i < p->rows; i++) {
        const ptrdiff_t at = (ptrdiff_t)i * p->depth;
        row(p, (const int16_t *)in + at, (int16_t *)out + at);
    }
}
