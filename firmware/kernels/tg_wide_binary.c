#include "tg_wide_binary.h"

#include "tg_wide.h"

#define HEADROOM 15
#define LAST (TG_WIDE_BINARY_AXES - 1)

typedef int32_t (*tg_wide_pair_t)(const tg_wide_binary_t *p, int32_t a, int32_t b);

static inline int32_t scaled(int32_t value, tg_scale_t scale)
{
    return tg_multiply(value, scale.multiplier, scale.shift);
}

static inline int32_t add(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a, HEADROOM), p->scale_a);
    const int32_t right = scaled(tg_shift_left(b, HEADROOM), p->scale_b);
    return scaled(tg_add_wrap(left, right), p->scale_out);
}

static inline int32_t sub(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a, HEADROOM), p->scale_a);
    const int32_t right = scaled(tg_shift_left(b, HEADROOM), p->scale_b);
    return scaled((int32_t)((uint32_t)left - (uint32_t)right), p->scale_out);
}

static inline int32_t mul(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    return scaled(a * b, p->scale_out);
}

static inline int32_t squared_difference(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    const int32_t difference = scaled(a, p->scale_a) - scaled(b, p->scale_b);
    return scaled(difference * difference, p->scale_out);
}

static inline int32_t maximum(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    (void)p;
    return tg_max(a, b);
}

static inline int32_t minimum(const tg_wide_binary_t *p, int32_t a, int32_t b)
{
    (void)p;
    return tg_min(a, b);
}

/* This is inlined with a constant function, so that each kernel is one tight loop; see tg_binary.c. */
__attribute__((always_inline)) static inline void
walk(const tg_wide_binary_t *p, const int16_t *a, const int16_t *b, int16_t *out, tg_wide_pair_t function)
{
    int32_t index[LAST] = {0};
    int32_t at_a = 0;
    int32_t at_b = 0;
    int32_t axis = 0;
    while (axis >= 0) {
        const int16_t *left = a + at_a;
        const int16_t *right = b + at_b;
        for (int32_t i = 0; i < p->sizes[LAST]; i++) {
            *out = tg_wide_clamp(function(p, *left, *right), p->act_min, p->act_max);
            out++;
            left += p->steps_a[LAST];
            right += p->steps_b[LAST];
        }
        for (axis = LAST - 1; axis >= 0; axis--) {
            at_a += p->steps_a[axis];
            at_b += p->steps_b[axis];
            index[axis]++;
            if (index[axis] < p->sizes[axis]) {
                break;
            }
            at_a -= p->steps_a[axis] * p->sizes[axis];
            at_b -= p->steps_b[axis] * p->sizes[axis];
            index[axis] = 0;
        }
    }
}

void tg_wide_add(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, add);
}

void tg_wide_sub(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, sub);
}

void tg_wide_mul(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, mul);
}

void tg_wide_squared_difference(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, squared_difference);
}

void tg_wide_maximum(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, maximum);
}

void tg_wide_minimum(const tg_wide_binary_t *p, const void *a, const void *b, void *out)
{
    walk(p, a, b, out, minimum);
}
