#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>
#include <string.h>

#define ADD_HEADROOM 20

static inline int32_t scaled(int32_t value, tg_scale_t scale)
{
    return tg_multiply(value, scale.multiplier, scale.shift);
}

static inline int8_t added(const tg_add_t *p, int32_t a, int32_t b)
{
    const int32_t left = scaled(tg_shift_left(a - p->zero_point_a, ADD_HEADROOM), p->scale_a);
    const int32_t right = scaled(tg_shift_left(b - p->zero_point_b, ADD_HEADROOM), p->scale_b);
    const int32_t sum = scaled(tg_add_wrap(left, right), p->scale_out) + p->out_zero_point;
    return tg_clamp(sum, p->act_min, p->act_max);
}

static inline int8_t requantized(const tg_requantize_t *p, int32_t value)
{
    const int32_t moved = tg_add_wrap(scaled(value - p->in_zero_point, p->scale), p->out_zero_point);
    return tg_clamp(moved, INT8_MIN, INT8_MAX);
}

/* The host takes TG_LANES elements at once, over copies that nothing else can write: loops that fit vectors,
 * though output and input may be the same memory. Cores take one after the other. */
#if TG_LANES > 1
static void add_lanes(tg_add_t p, const int8_t *a, const int8_t *b, int8_t *out)
{
    int8_t sums[TG_LANES];
    for (int32_t i = 0; i < TG_LANES; i++) {
        sums[i] = added(&p, a[i], b[i]);
    }
    (void)memcpy(out, sums, sizeof sums);
}

static void requantize_lanes(tg_requantize_t p, const int8_t *in, int8_t *out)
{
    int8_t values[TG_LANES];
    for (int32_t i = 0; i < TG_LANES; i++) {
        values[i] = requantized(&p, in[i]);
    }
    (void)memcpy(out, values, sizeof values);
}
#endif

void tg_add(const tg_add_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t i = 0;
#if TG_LANES > 1
    for (; i + TG_LANES <= p->size; i += TG_LANES) {
        add_lanes(*p, a + i, b + i, out + i);
    }
#endif
    for (; i < p->size; i++) {
        out[i] = added(p, a[i], b[i]);
    }
}

void tg_requantize(const tg_requantize_t *p, const int8_t *in, int8_t *out)
{
    int32_t i = 0;
#if TG_LANES > 1
    for (; i + TG_LANES <= p->size; i += TG_LANES) {
        requantize_lanes(*p, in + i, out + i);
    }
#endif
    for (; i < p->size; i++) {
        out[i] = requantized(p, in[i]);
    }
}

void tg_mean(const tg_mean_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t c = 0; c < p->channels; c++) {
        int32_t sum = -p->in_zero_point * p->positions;
        for (int32_t i = 0; i < p->positions; i++) {
            sum += in[(i * p->channels) + c];
        }
        out[c] = tg_clamp(tg_add_wrap(scaled(sum, p->scale), p->out_zero_point), INT8_MIN, INT8_MAX);
    }
}

void tg_pad(const tg_pad_t *p, const int8_t *in, int8_t *out)
{
    (void)memset(out, p->value, (size_t)p->out_h * (size_t)p->out_w * (size_t)p->out_c);
    for (int32_t y = 0; y < p->in_h; y++) {
        for (int32_t x = 0; x < p->in_w; x++) {
            const ptrdiff_t to = (ptrdiff_t)((y + p->before_h) * p->out_w) + x + p->before_w;
            const ptrdiff_t from = (ptrdiff_t)(y * p->in_w) + x;
            (void)memcpy(out + (to * p->out_c) + p->before_c, in + (from * p->in_c), (size_t)p->in_c);
        }
    }
}
