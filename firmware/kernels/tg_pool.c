#include "tg_core.h"
#include "tg_kernels.h"
#include "tg_window.h"

#include <stddef.h>

/* Divide and round to nearest, halves away from zero. */
static inline int32_t divide(int32_t sum, int32_t count)
{
    return (sum > 0) ? ((sum + (count / 2)) / count) : ((sum - (count / 2)) / count);
}

/* Only tg_core_sum has to be fast, so the loops around it, over four channels at a time, are optimized for size. */
__attribute__((cold)) void tg_average_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, 1, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, 1, w->in_w);
            const ptrdiff_t pixel = (ptrdiff_t)((y.origin + y.first) * w->in_w) + x.origin + x.first;
            const int32_t width = x.end - x.first;
            const int32_t height = y.end - y.first;
            const bool one_run = (width == w->in_w);
            for (int32_t channel = 0; channel < w->out_c; channel += 4) {
                const int32_t channels = tg_min(4, w->out_c - channel);
                const int8_t *row = in + (pixel * w->in_c) + channel;
                int32_t sums[4] = {0, 0, 0, 0};
                for (int32_t ky = 0; ky < (one_run ? 1 : height); ky++) {
                    tg_core_sum(row, w->in_c, one_run ? (height * width) : width, channels, sums);
                    row += w->in_w * w->in_c;
                }
                for (int32_t c = 0; c < channels; c++) {
                    *out++ = tg_clamp(divide(sums[c], height * width), p->act_min, p->act_max);
                }
            }
        }
    }
}

/* The greatest values of one window; out has the channels of one pixel and lies before the window. */
static void greatest(const tg_window_t *w, const int8_t *in, tg_span_t y, tg_span_t x, int8_t *out)
{
    const int8_t *row = in + ((ptrdiff_t)(((y.origin + y.first) * w->in_w) + x.origin + x.first) * w->in_c);
    tg_core_copy(out, row, w->in_c);
    for (int32_t ky = y.first; ky < y.end; ky++) {
        const int8_t *from = row;
        for (int32_t kx = x.first; kx < x.end; kx++) {
            tg_core_max(out, from, w->in_c);
            from += w->in_c;
        }
        row += w->in_w * w->in_c;
    }
}

void tg_max_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, 1, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            greatest(w, in, y, tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, 1, w->in_w), out);
            if ((p->act_min > INT8_MIN) || (p->act_max < INT8_MAX)) {
                for (int32_t c = 0; c < w->out_c; c++) {
                    out[c] = tg_clamp(out[c], p->act_min, p->act_max);
                }
            }
            out += w->out_c;
        }
    }
}
