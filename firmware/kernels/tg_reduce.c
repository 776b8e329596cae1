#include "tg_reduce.h"

#include "tg_fixed.h"

/* Joins an element to what the elements before it gave. */
typedef int32_t (*tg_joining_t)(int32_t so_far, int32_t value);

static inline int32_t plus(int32_t so_far, int32_t value)
{
    return so_far + value;
}

/* This is inlined with a constant function, so that each kernel is one tight loop. */
__attribute__((always_inline)) static inline int32_t reduced(const tg_reduce_t *p, const int8_t *in,
                                                             int32_t start, tg_joining_t join)
{
    const int32_t step = p->reduced_steps[2];
    int32_t value = start;
    for (int32_t i = 0; i < p->reduced_sizes[0]; i++) {
        for (int32_t j = 0; j < p->reduced_sizes[1]; j++) {
            const int8_t *at = in + (i * p->reduced_steps[0]) + (j * p->reduced_steps[1]);
            for (int32_t k = 0; k < p->reduced_sizes[2]; k++) {
                value = join(value, *at);
                at += step;
            }
        }
    }
    return value;
}

__attribute__((always_inline)) static inline void walk(const tg_reduce_t *p, const int8_t *in, int8_t *out,
                                                       int32_t start, tg_joining_t join, int32_t rescales)
{
    for (int32_t i = 0; i < p->kept_sizes[0]; i++) {
        for (int32_t j = 0; j < p->kept_sizes[1]; j++) {
            const int8_t *at = in + (i * p->kept_steps[0]) + (j * p->kept_steps[1]);
            for (int32_t k = 0; k < p->kept_sizes[2]; k++) {
                int32_t value = reduced(p, at, start, join);
                if (rescales != 0) {
                    value = tg_multiply(value, p->scale.multiplier, p->scale.shift);
                    value = tg_clamp(tg_add_wrap(value, p->out_zero_point), INT8_MIN, INT8_MAX);
                }
                *out = (int8_t)value;
                out++;
                at += p->kept_steps[2];
            }
        }
    }
}

void tg_sum(const tg_reduce_t *p, const int8_t *in, int8_t *out)
{
    const int32_t count = p->reduced_sizes[0] * p->reduced_sizes[1] * p->reduced_sizes[2];
    walk(p, in, out, -p->in_zero_point * count, plus, 1);
}

void tg_reduce_max(const tg_reduce_t *p, const int8_t *in, int8_t *out)
{
    walk(p, in, out, INT8_MIN, tg_max, 0);
}

void tg_reduce_min(const tg_reduce_t *p, const int8_t *in, int8_t *out)
{
    walk(p, in, out, INT8_MAX, tg_min, 0);
}
