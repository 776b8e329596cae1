#include "tg_kernels.h"
#include "tg_window.h"

#include <stddef.h>

/* Rounded to nearest, halves away from zero. */
static inline int32_t divide(int32_t sum, int32_t count)
{
    return (sum > 0) ? ((sum + (count / 2)) / count) : ((sum - (count / 2)) / count);
}

static inline int32_t pooled(const tg_window_t *w, const int8_t *in, int32_t channel, tg_span_t y,
                             tg_span_t x, int average)
{
    int32_t sum = 0;
    int32_t greatest = INT8_MIN;
    for (int32_t ky = y.first; ky < y.end; ky++) {
        for (int32_t kx = x.first; kx < x.end; kx++) {
            const ptrdiff_t pixel = (ptrdiff_t)((y.origin + ky) * w->in_w) + x.origin + kx;
            const int32_t value = in[(pixel * w->in_c) + channel];
            sum += value;
            greatest = tg_max(greatest, value);
        }
    }
    return (average != 0) ? divide(sum, (y.end - y.first) * (x.end - x.first)) : greatest;
}

__attribute__((always_inline)) static inline void pool(const tg_pool_t *p, const int8_t *in, int8_t *out,
                                                       int average)
{
    const tg_window_t *w = &p->window;
    int32_t element = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, 1, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, 1, w->in_w);
            for (int32_t c = 0; c < w->out_c; c++) {
                out[element] = tg_clamp(pooled(w, in, c, y, x, average), p->act_min, p->act_max);
                element++;
            }
        }
    }
}

void tg_average_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    pool(p, in, out, 1);
}

void tg_max_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    pool(p, in, out, 0);
}
