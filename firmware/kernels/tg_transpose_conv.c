#include "tg_transpose_conv.h"

#include "tg_output.h"
#include "tg_transposed.h"

static inline int32_t dot(const int8_t *x, const int8_t *w, int32_t zero_point, int32_t count)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += (x[i] - zero_point) * w[i];
    }
    return sum;
}

static int32_t gathered(const tg_transpose_conv_t *p, const int8_t *in, int32_t channel, tg_reach_t y,
                        tg_reach_t x)
{
    const tg_window_t *w = &p->window;
    int32_t sum = 0;
    for (int32_t ky = y.first; ky < y.end; ky += w->stride_h) {
        const int32_t row = ((y.at - ky) / w->stride_h) * w->in_w;
        const int32_t weight_row = ((channel * w->kernel_h) + ky) * w->kernel_w;
        for (int32_t kx = x.first; kx < x.end; kx += w->stride_w) {
            const int8_t *pixel = in + ((ptrdiff_t)(row + ((x.at - kx) / w->stride_w)) * w->in_c);
            const int8_t *weights = p->layer.weights + ((ptrdiff_t)(weight_row + kx) * w->in_c);
            sum += dot(pixel, weights, p->layer.in_zero_point, w->in_c);
        }
    }
    return sum;
}

void tg_transpose_conv(const tg_transpose_conv_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    const tg_sink_t sink = {out, NULL};
    int32_t element = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_reach_t y = tg_reach(oy, w->stride_h, w->pad_top, w->kernel_h, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_reach_t x = tg_reach(ox, w->stride_w, w->pad_left, w->kernel_w, w->in_w);
            for (int32_t c = 0; c < w->out_c; c++) {
                tg_output(&p->layer, NULL, c, gathered(p, in, c, y, x), sink, element);
                element++;
            }
        }
    }
}
