#include "tg_wide_pool.h"

#include "tg_wide.h"
#include "tg_window.h"

#include <stdbool.h>
#include <stddef.h>

/* Divide and round to nearest, halves away from zero. */
static inline int32_t divide(int32_t sum, int32_t count)
{
    return (sum > 0) ? ((sum + (count / 2)) / count) : ((sum - (count / 2)) / count);
}

/* The average or the greatest of one channel of a window, whose first pixel inside the input is `from`. */
static inline int32_t pooled(const tg_window_t *w, const int16_t *from, int32_t rows, int32_t columns,
                             bool average)
{
    int32_t sum = 0;
    int32_t most = INT16_MIN;
    for (int32_t y = 0; y < rows; y++) {
        const int16_t *pixel = from + ((ptrdiff_t)y * w->in_w * w->in_c);
        for (int32_t x = 0; x < columns; x++) {
            sum += *pixel;
            most = tg_max(most, *pixel);
            pixel += w->in_c;
        }
    }
    return average ? divide(sum, rows * columns) : most;
}

__attribute__((always_inline)) static inline void walk(const tg_wide_pool_t *p, const int16_t *in,
                                                       int16_t *out, bool average)
{
    const tg_window_t *w = &p->window;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, 1, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, 1, w->in_w);
            const ptrdiff_t pixel = (ptrdiff_t)((y.origin + y.first) * w->in_w) + x.origin + x.first;
            for (int32_t c = 0; c < w->out_c; c++) {
                const int32_t value =
                    pooled(w, in + (pixel * w->in_c) + c, y.end - y.first, x.end - x.first, average);
                *out++ = tg_wide_clamp(value, p->act_min, p->act_max);
            }
        }
    }
}

void tg_wide_average_pool(const tg_wide_pool_t *p, const void *in, void *out)
{
    walk(p, in, out, true);
}

void tg_wide_max_pool(const tg_wide_pool_t *p, const void *in, void *out)
{
    walk(p, in, out, false);
}
