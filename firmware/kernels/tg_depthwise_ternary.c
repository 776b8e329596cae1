#include "tg_kernels.h"
#include "tg_output.h"
#include "tg_window.h"

/* Channels are processed in blocks of sixteen, one word of trits. The sums stay in a small array, and inputs
 * and weights are read in the order in which they are stored. */
#define BLOCK TG_TRITS_PER_WORD

static inline int32_t input_at(const tg_depthwise_ternary_t *p, const int8_t *pixel, int32_t channel)
{
    const int32_t from = (p->depth_multiplier == 1) ? channel : (channel / p->depth_multiplier);
    return pixel[from] - p->layer.in_zero_point;
}

static inline void tap_ternary(const tg_depthwise_ternary_t *p, const int8_t *pixel, int32_t tap,
                               int32_t channel, int32_t count, int32_t *sums)
{
    const int32_t words_per_tap = (p->window.out_c + BLOCK - 1) / BLOCK;
    const uint32_t trits = p->layer.trits[(tap * words_per_tap) + (channel / BLOCK)];
    for (int32_t i = 0; i < count; i++) {
        sums[i] += ((int32_t)((trits >> (2 * i)) & 3u) - 1) * input_at(p, pixel, channel + i);
    }
}

static inline void block_sums(const tg_depthwise_ternary_t *p, const int8_t *in, int32_t channel,
                              int32_t count, tg_span_t y, tg_span_t x, int32_t *sums)
{
    const tg_window_t *w = &p->window;
    for (int32_t i = 0; i < BLOCK; i++) {
        sums[i] = 0;
    }
    for (int32_t ky = y.first; ky < y.end; ky++) {
        const int32_t row = (y.origin + (ky * w->dilation_h)) * w->in_w;
        for (int32_t kx = x.first; kx < x.end; kx++) {
            const int32_t column = x.origin + (kx * w->dilation_w);
            const int8_t *pixel = in + ((ptrdiff_t)(row + column) * w->in_c);
            tap_ternary(p, pixel, (ky * w->kernel_w) + kx, channel, count, sums);
        }
    }
}

void tg_depthwise_ternary(const tg_depthwise_ternary_t *p, const int8_t *in, int8_t *out,
                          int32_t *accumulators)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_depthwise_two_bits(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    int32_t sums[BLOCK];
    const tg_sink_t sink = {out, accumulators};
    int32_t element = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        const tg_span_t y = tg_span(oy, w->stride_h, w->pad_top, w->kernel_h, w->dilation_h, w->in_h);
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const tg_span_t x = tg_span(ox, w->stride_w, w->pad_left, w->kernel_w, w->dilation_w, w->in_w);
            for (int32_t block = 0; block < w->out_c; block += BLOCK) {
                const int32_t count = tg_min(BLOCK, w->out_c - block);
                block_sums(p, in, block, count, y, x, sums);
                for (int32_t i = 0; i < count; i++) {
                    tg_output(&p->layer, p->layer.magnitude, block + i, sums[i], sink, element);
                    element++;
                }
            }
        }
    }
}
