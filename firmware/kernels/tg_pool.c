#include "tg_core.h"
#include "tg_kernels.h"
#include "tg_window.h"

#include <stddef.h>

/* Divide and round to nearest, halves away from zero. */
static inline int32_t divide(int32_t sum, int32_t count)
{
    return (sum > 0) ? ((sum + (count / 2)) / count) : ((sum - (count / 2)) / count);
}

/* Find the greatest value of each of up to four channels over count pixels, which are `step` apart. */
static void greatest(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *best)
{
    for (int32_t c = 0; c < channels; c++) {
        const int8_t *x = from + c;
        for (int32_t i = 0; i < count; i++) {
            best[c] = tg_max(best[c], *x);
            x += step;
        }
    }
}

typedef void (*gather_t)(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *values);

/* Compute all outputs, four channels at a time. `gather` starts from `first` and takes one row of a window
 * after the other. */
__attribute__((always_inline)) static inline void pool(const tg_pool_t *p, const int8_t *in, int8_t *out,
                                                       gather_t gather, int32_t first, bool average)
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
                int32_t values[4] = {first, first, first, first};
                for (int32_t ky = 0; ky < (one_run ? 1 : height); ky++) {
                    gather(row, w->in_c, one_run ? (height * width) : width, channels, values);
                    row += w->in_w * w->in_c;
                }
                for (int32_t c = 0; c < channels; c++) {
                    const int32_t value = average ? divide(values[c], height * width) : values[c];
                    *out++ = tg_clamp(value, p->act_min, p->act_max);
                }
            }
        }
    }
}

/* Only tg_core_sum and `greatest` have to be fast, so the loops around them are optimized for size. */
__attribute__((cold)) void tg_average_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    pool(p, in, out, tg_core_sum, 0, true);
}

__attribute__((cold)) void tg_max_pool(const tg_pool_t *p, const int8_t *in, int8_t *out)
{
    pool(p, in, out, greatest, INT8_MIN, false);
}
