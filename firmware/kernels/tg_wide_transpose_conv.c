#include "tg_wide_transpose_conv.h"

#include "tg_transposed.h"
#include "tg_wide_output.h"

static int64_t gathered(const tg_wide_transpose_conv_t *p, const int16_t *in, int32_t channel, tg_reach_t y,
                        tg_reach_t x)
{
    const tg_window_t *w = &p->window;
    int64_t sum = 0;
    for (int32_t ky = y.first; ky < y.end; ky += w->stride_h) {
        const int32_t row = ((y.at - ky) / w->stride_h) * w->in_w;
        const int32_t weight_row = ((channel * w->kernel_h) + ky) * w->kernel_w;
        for (int32_t kx = x.first; kx < x.end; kx += w->stride_w) {
            const int32_t pixel = row + ((x.at - kx) / w->stride_w);
            sum += tg_wide_dot(in + ((ptrdiff_t)pixel * w->in_c),
                               p->layer.weights + ((ptrdiff_t)(weight_row + kx) * w->in_c), w->in_c);
        }
    }
    return sum;
}

void tg_wide_transpose_conv(const tg_wide_transpose_conv_t *p, const void *in, void *out)
{
    const tg_window_t *w = &p->window;
    int16_t *to = out;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_reach_t y = tg_reach(oy, w->stride_h, w->pad_top, w->kernel_h, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_reach_t x = tg_reach(ox, w->stride_w, w->pad_left, w->kernel_w, w->in_w);
            for (int32_t c = 0; c < w->out_c; c++) {
                *to++ = tg_wide_output(&p->layer, c, gathered(p, in, c, y, x));
            }
        }
    }
}
