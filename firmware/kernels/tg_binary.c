#include "tg_binary.h"

#include "tg_fixed.h"

#define HEADROOM 20
#define SQUARE_HEADROOM 7
#define LAST (TG_BINARY_AXES - 1)

/* Computes a result from two elements, all three relative to their zero points. */
typedef int32_t (*tg_pair_t)(const tg_binary_t *p, int32_t a, int32_t b);

static inline int32_t scaled(int32_t value, tg_scale_t scale)
{
    return tg_multiply(value, scale.multiplier, scale.shift);
}

static inline int32_t add(const tg_binary_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a, HEADROOM), p->scale_a);
    const int32_t right = scaled(tg_shift_left(b, HEADROOM), p->scale_b);
    return scaled(tg_add_wrap(left, right), p->scale_out);
}

static inline int32_t sub(const tg_binary_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a, HEADROOM), p->scale_a);
    const int32_t right = scaled(tg_shift_left(b, HEADROOM), p->scale_b);
    return scaled((int32_t)((uint32_t)left - (uint32_t)right), p->scale_out);
}

static inline int32_t mul(const tg_binary_t *p, int32_t a, int32_t b)
{
    return scaled(a * b, p->scale_out);
}

static inline int32_t prelu(const tg_binary_t *p, int32_t a, int32_t b)
{
    return (a >= 0) ? scaled(a, p->scale_a) : scaled(a * b, p->scale_b);
}

static inline int32_t squared_difference(const tg_binary_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a, SQUARE_HEADROOM), p->scale_a);
    const int32_t difference = left - scaled(tg_shift_left(b, SQUARE_HEADROOM), p->scale_b);
    return scaled(difference * difference, p->scale_out);
}

static inline int32_t maximum(const tg_binary_t *p, int32_t a, int32_t b)
{
    (void)p;
    return tg_max(a, b);
}

static inline int32_t minimum(const tg_binary_t *p, int32_t a, int32_t b)
{
    (void)p;
    return tg_min(a, b);
}

/* This is inlined with a constant function, so that each kernel is one tight loop. The outer axes count like
 * an odometer, and `at_a` and `at_b` follow them with additions only. */
__attribute__((always_inline)) static inline void walk(const tg_binary_t *p, const int8_t *a, const int8_t *b,
                                                       int8_t *out, tg_pair_t function)
{
    int32_t index[LAST] = {0};
    int32_t at_a = 0;
    int32_t at_b = 0;
    int32_t axis = 0;
    while (axis >= 0) {
        const int8_t *left = a + at_a;
        const int8_t *right = b + at_b;
        for (int32_t i = 0; i < p->sizes[LAST]; i++) {
            const int32_t value = function(p, *left - p->zero_point_a, *right - p->zero_point_b);
            *out = tg_clamp(tg_add_wrap(value, p->out_zero_point), p->act_min, p->act_max);
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

void tg_binary_add(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, add);
}

void tg_binary_sub(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, sub);
}

void tg_binary_mul(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, mul);
}

void tg_binary_prelu(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, prelu);
}

void tg_binary_maximum(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, maximum);
}

void tg_binary_minimum(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, minimum);
}

void tg_binary_squared_difference(const tg_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    walk(p, a, b, out, squared_difference);
}
