#include "tg_sums.h"
#include "tg_taps.h"
#include "tg_window.h"

#include <string.h>

/* Scratch: p->plane_bytes for the phases of one channel's plane and, after them, what a last tile reads past
 * the end; the sums of a strip of output rows, int16 [p->strip_positions]; the offsets of one channel's taps,
 * uint16 [p->taps]. A channel's input is copied to the plane before its outputs are written, so they may take
 * its place. */

/* Copy the rows and columns of one input channel that lie in one phase. They go after the padding, which is
 * written once at the start of the layer. */
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

/* Write the offsets of a channel's nonzero taps: those of -1 from the front, those of +1 from the end. Trits
 * are stored as trit + 1, four to a byte, low bits first. */
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
            /* a zero adds nothing */
        }
    }
    return (tg_taps_t){offsets, plus, (int32_t)(minus - offsets), (int32_t)(offsets + p->taps - plus)};
}

void tg_depthwise_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_taps(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const tg_sink_t image = {out, accumulators};
    int8_t *plane = scratch;
    int16_t *sums = (int16_t *)(void *)(plane + p->plane_bytes);
    uint16_t *offsets = (uint16_t *)(void *)(sums + p->strip_positions);
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
            const tg_sums_t strip = {sums, rows, w->out_w, p->pitch};
            tg_sums_output(&p->scale, p->channels + c, &strip, tg_sink_at(image, row * w->out_w * w->out_c),
                           w->out_c);
        }
    }
}
