#include "tg_wide_conv.h"

#include "tg_wide_output.h"
#include "tg_window.h"

/* The products of one output channel over the part of its window that lies inside the input. */
static int64_t seen(const tg_wide_conv_t *p, const int16_t *in, int32_t channel, tg_span_t y, tg_span_t x)
{
    const tg_window_t *w = &p->window;
    const int32_t first = (channel / p->group) * p->depth;
    const int32_t columns = x.end - x.first;
    const int32_t joined =
        ((w->dilation_w == 1) && (p->depth == w->in_c)) ? columns : 1; /* pixels in one run */
    int64_t sum = 0;
    for (int32_t ky = y.first; ky < y.end; ky++) {
        const int32_t row = (y.origin + (ky * w->dilation_h)) * w->in_w;
        const int32_t weight_row = ((channel * w->kernel_h) + ky) * w->kernel_w;
        for (int32_t kx = x.first; kx < x.end; kx += joined) {
            const int32_t pixel = row + x.origin + (kx * w->dilation_w);
            sum +=
                tg_wide_dot(in + ((ptrdiff_t)pixel * w->in_c) + first,
                            p->layer.weights + ((ptrdiff_t)(weight_row + kx) * p->depth), joined * p->depth);
        }
    }
    return sum;
}

void tg_wide_conv(const tg_wide_conv_t *p, const void *in, void *out)
{
    const tg_window_t *w = &p->window;
    int16_t *to = out;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, w->dilation_h, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, w->dilation_w, w->in_w);
            for (int32_t c = 0; c < w->out_c; c++) {
                *to++ = tg_wide_output(&p->layer, c, seen(p, in, c, y, x));
            }
        }
    }
}
