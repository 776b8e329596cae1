#include "tg_taps.h"
#include "tg_trits.h"
#include "tg_window.h"

#include <string.h>

/* Scratch: the phases of one channel's plane and behind them what a last tile reads beyond, p->plane_bytes;
 * the sums of a strip of output rows, int16 [p->strip_positions]; the offsets of one channel's taps, uint16
 * [p->taps]. A channel's input is in the plane before its outputs are written: they may take its place. */

/* The rows and columns of one input channel that lie in one phase, behind the padding that is there since the
 * layer's start. */
static void gather_phase(const tg_depthwise_taps_t *p, const int8_t *channel, int32_t y, int32_t x,
                         int8_t *to)
{
    const tg_window_t *w = &p->window;
    const int32_t step = w->stride_w * w->in_c;
    const int32_t count = (w->in_w - x + w->stride_w - 1) / w->stride_w;
    for (; y < w->in_h; y += w->stride_h) {
        const int8_t *from = channel + ((ptrdiff_t)((y * w->in_w) + x) * w->in_c);
#pragma GCC unroll 4
        for (int32_t i = 0; i < count; i++) {
            to[i] = *from;
            from += step;
        }
        to += p->pitch;
    }
}

static void gather(const tg_depthwise_taps_t *p, const int8_t *channel, int8_t *plane)
{
    const tg_window_t *w = &p->window;
    for (int32_t vertical = 0; vertical < w->stride_h; vertical++) {
        const int32_t y = tg_phase_start(vertical, w->pad_top, w->stride_h);
        const int32_t row = (y + w->pad_top) / w->stride_h;
        for (int32_t horizontal = 0; horizontal < w->stride_w; horizontal++) {
            const int32_t x = tg_phase_start(horizontal, w->pad_left, w->stride_w);
            if (x < w->in_w) {
                gather_phase(p, channel, y, x, plane + (row * p->pitch) + ((x + w->pad_left) / w->stride_w));
            }
            plane += p->phase_bytes;
        }
    }
}

/* The offsets of a channel's taps that are not zero, those of -1 from the front, those of +1 from the end.
 * Trits lie four a byte, low bits first, as trit + 1. */
static tg_taps_t decode(const tg_depthwise_taps_t *p, const uint8_t *trits, uint16_t *offsets)
{
    uint16_t *minus = offsets;
    uint16_t *plus = offsets + p->taps;
    uint32_t byte = 0;
    for (int32_t tap = 0; tap < p->taps; tap++) {
        byte = ((tap % 4) == 0) ? *trits++ : (byte >> 2);
        if ((byte & 3u) == 0u) {
            *minus++ = p->offsets[tap];
        } else if ((byte & 3u) == 2u) {
            plus--;
            *plus = p->offsets[tap];
        } else {
            /* a zero */
        }
    }
    return (tg_taps_t){offsets, plus, (int32_t)(minus - offsets), (int32_t)(offsets + p->taps - plus)};
}

/* One channel's outputs in a strip of rows. They are a pixel apart, from one row to the next too. */
__attribute__((noinline)) static void plain_outputs(const tg_depthwise_taps_t *p,
                                                    const tg_trit_channel_t *channel, const int16_t *sums,
                                                    int32_t rows, int8_t *out)
{
    const tg_trit_narrow_t narrow = tg_trits_narrow(channel, p->scale.zero_point);
    const int32_t width = p->window.out_w;
    const int32_t step = p->window.out_c;
    const int32_t behind = p->pitch - width;
    out += channel->channel;
    for (; rows > 0; rows--) {
        for (const int16_t *end = sums + width; sums != end; sums++) {
            *out = tg_trits_plain(narrow, *sums);
            out += step;
        }
        sums += behind;
    }
}

static void any_outputs(const tg_depthwise_taps_t *p, const tg_trit_channel_t *channel, const int16_t *sums,
                        int32_t rows, tg_sink_t to)
{
    for (; rows > 0; rows--) {
        for (int32_t x = 0; x < p->window.out_w; x++) {
            tg_trits_any(&p->scale, channel, sums[x], to);
            to = tg_sink_at(to, p->window.out_c);
        }
        sums += p->pitch;
    }
}

void tg_depthwise_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch)
{
    const tg_window_t *w = &p->window;
    const tg_sink_t image = {out, accumulators};
    int8_t *plane = scratch;
    int16_t *sums = (int16_t *)(void *)(plane + p->plane_bytes);
    uint16_t *offsets = (uint16_t *)(void *)(sums + p->strip_positions);
    const bool plain = tg_trits_are_plain(&p->scale, image);
    (void)memset(plane, p->in_zero_point, (size_t)p->plane_bytes);
    for (int32_t c = 0; c < w->out_c; c++) {
        if ((c % p->depth_multiplier) == 0) {
            gather(p, in + (c / p->depth_multiplier), plane);
        }
        const tg_taps_t taps = decode(p, p->trits + (ptrdiff_t)(c * ((p->taps + 3) / 4)), offsets);
        for (int32_t row = 0; row < w->out_h; row += p->strip_rows) {
            const int32_t rows = tg_min(p->strip_rows, w->out_h - row);
            const int32_t positions = ((rows - 1) * p->pitch) + w->out_w;
            tg_taps_sum(plane + (row * p->pitch), taps, positions, sums);
            const tg_sink_t to = tg_sink_at(image, row * w->out_w * w->out_c);
            if (plain) {
                plain_outputs(p, p->channels + c, sums, rows, to.out);
            } else {
                any_outputs(p, p->channels + c, sums, rows, to);
            }
        }
    }
}
