#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>
#include <string.h>

#define ADD_HEADROOM 20

static inline int32_t scaled(int32_t value, tg_scale_t scale)
{
    return tg_multiply(value, scale.multiplier, scale.shift);
}

void tg_add(const tg_add_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t left = scaled(tg_shift_left(a[i] - p->zero_point_a, ADD_HEADROOM), p->scale_a);
        const int32_t right = scaled(tg_shift_left(b[i] - p->zero_point_b, ADD_HEADROOM), p->scale_b);
        const int32_t sum = scaled(tg_add_wrap(left, right), p->scale_out) + p->out_zero_point;
        out[i] = tg_clamp(sum, p->act_min, p->act_max);
    }
}

void tg_requantize(const tg_requantize_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t value = tg_add_wrap(scaled(in[i] - p->in_zero_point, p->scale), p->out_zero_point);
        out[i] = tg_clamp(value, INT8_MIN, INT8_MAX);
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
