#include "tg_kernels.h"
#include "tg_output.h"
#include "tg_window.h"

static inline int32_t dot_word(uint32_t trits, const int8_t *x, int32_t zero_point, int32_t count)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += ((int32_t)((trits >> (2 * i)) & 3u) - 1) * (x[i] - zero_point);
    }
    return sum;
}

/* The sum of (x[i] - zero point) * trits[offset + i]. Since a run may start anywhere in a word, two adjacent
 * words are shifted into one; this is why the generator puts a guard word after the last one. */
static inline int32_t dot_ternary(const tg_weighted_t *p, const int8_t *x, int32_t offset, int32_t count)
{
    const uint32_t *words = p->trits + (offset / TG_TRITS_PER_WORD);
    const uint32_t skip = 2u * ((uint32_t)offset % TG_TRITS_PER_WORD);
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i += TG_TRITS_PER_WORD) {
        uint32_t trits = words[0] >> skip;
        if (skip != 0u) {
            trits |= words[1] << (32u - skip);
        }
        words++;
        const int32_t left = count - i;
        sum += (left >= TG_TRITS_PER_WORD) ? dot_word(trits, x + i, p->in_zero_point, TG_TRITS_PER_WORD)
                                           : dot_word(trits, x + i, p->in_zero_point, left);
    }
    return sum;
}

/* The sum of one output element. Without horizontal dilation a kernel row is one contiguous run. */
static inline int32_t window_sum(const tg_conv2d_t *p, const int8_t *in, int32_t channel, tg_span_t y,
                                 tg_span_t x)
{
    const tg_window_t *w = &p->window;
    const int32_t taps_per_run = (w->dilation_w == 1) ? (x.end - x.first) : 1;
    const int32_t run = taps_per_run * w->in_c;
    int32_t sum = 0;
    for (int32_t ky = y.first; ky < y.end; ky++) {
        const int32_t row = (y.origin + (ky * w->dilation_h)) * w->in_w;
        const int32_t weight_row = ((channel * w->kernel_h) + ky) * w->kernel_w;
        for (int32_t kx = x.first; kx < x.end; kx += taps_per_run) {
            const int32_t pixel = row + x.origin + (kx * w->dilation_w);
            sum +=
                dot_ternary(&p->layer, in + ((ptrdiff_t)pixel * w->in_c), (weight_row + kx) * w->in_c, run);
        }
    }
    return sum;
}

void tg_conv2d_ternary(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_two_bits(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const tg_sink_t sink = {out, accumulators};
    int32_t element = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, w->dilation_h, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, w->dilation_w, w->in_w);
            for (int32_t c = 0; c < w->out_c; c++) {
                tg_output(&p->layer, p->layer.magnitude, c, window_sum(p, in, c, y, x), sink, element);
                element++;
            }
        }
    }
}
