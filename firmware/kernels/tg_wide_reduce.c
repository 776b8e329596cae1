#include "tg_wide_reduce.h"

#include "tg_wide.h"

#include <stddef.h>

static int32_t sum_of(const tg_reduce_t *p, const int16_t *in)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < p->reduced_sizes[0]; i++) {
        for (int32_t j = 0; j < p->reduced_sizes[1]; j++) {
            const int16_t *at =
                in + ((ptrdiff_t)i * p->reduced_steps[0]) + ((ptrdiff_t)j * p->reduced_steps[1]);
            for (int32_t k = 0; k < p->reduced_sizes[2]; k++) {
                sum = tg_add_wrap(sum, *at);
                at += p->reduced_steps[2];
            }
        }
    }
    return sum;
}

void tg_wide_sum(const tg_reduce_t *p, const void *in, void *out)
{
    int16_t *to = out;
    for (int32_t i = 0; i < p->kept_sizes[0]; i++) {
        for (int32_t j = 0; j < p->kept_sizes[1]; j++) {
            const ptrdiff_t start = ((ptrdiff_t)i * p->kept_steps[0]) + ((ptrdiff_t)j * p->kept_steps[1]);
            const int16_t *at = (const int16_t *)in + start;
            for (int32_t k = 0; k < p->kept_sizes[2]; k++) {
                const int32_t value = tg_multiply(sum_of(p, at), p->scale.multiplier, p->scale.shift);
                *to++ = tg_wide_clamp(value, INT16_MIN, INT16_MAX);
                at += p->kept_steps[2];
            }
        }
    }
}
