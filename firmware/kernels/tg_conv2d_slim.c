/* Convolution one pixel at a time, which takes less scratch than tiles of four: where windows are large beside the
 * images, their columns would be most of the arena. A window is a vector, and each pixel a dense layer over it.
 *
 * Scratch: that of tg_dense_int8, then a window as int8[positions]; positions as in tg_columns.h. */
#include "tg_columns.h"
#include "tg_kernels.h"
#include "tg_output.h"

#define PIECE 256 /* positions that are widened at once, where not all are */

void tg_conv2d_slim(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_convolution(&p->window, &p->layer, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int8_t zero_point = (int8_t)p->layer.in_zero_point;
    const int32_t positions = tg_positions(w);
    const int32_t whole = 2 * positions;
    const int32_t pieces = (2 * PIECE) + (4 * ((w->out_c + 3) & ~3));
    tg_dense_t dense;
    dense.depth = positions;
    dense.units = w->out_c;
    dense.piece = (whole <= pieces) ? positions : PIECE;
    dense.layer = p->layer;
    int8_t *window = (int8_t *)scratch + tg_min(whole, pieces);
    tg_sink_t sink = {out, accumulators};
    (void)tg_repeat(window, zero_point, positions);
    for (int32_t y = 0; y < w->out_h; y++) {
        for (int32_t x = 0; x < w->out_w; x++) {
            const int32_t top = (y * w->stride_h) - w->pad_top;
            const int32_t left = (x * w->stride_w) - w->pad_left;
            tg_gather(w, in, top, left, zero_point, window);
            tg_dense_int8(&dense, window, sink.out, sink.accumulators, scratch);
            sink = tg_sink_at(sink, w->out_c);
        }
    }
}
