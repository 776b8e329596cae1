/* Convolution with a window of one pixel and a stride of one: pixels are read where they lie. Scratch as for
 * tg_conv2d_int8. */
#include "tg_columns.h"
#include "tg_conv2d_pairs.h"

/* Fill columns from the tile at `pixel`. Words may reach into the next pixel, where their weights are zeros, but
 * not behind the last one. */
static void fill(const int8_t *in, int32_t depth, int32_t groups, int32_t pixel, int32_t pixels,
                 void *scratch)
{
    int8_t *behind = (int8_t *)scratch + ((size_t)groups * 4 * TG_TILE * sizeof(tg_lane_t));
    const bool copied = ((depth % 4) != 0) && ((pixel + TG_TILE) >= pixels);
    const int8_t *source[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        source[i] = in + ((ptrdiff_t)tg_min(pixel + i, pixels - 1) * depth);
        if (copied) {
            (void)tg_copy(behind, source[i], depth);
            source[i] = behind;
            behind += 4 * groups;
        }
    }
    (void)tg_core_expand(source, groups, scratch);
}

void tg_conv2d_pixels(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_convolution(&p->window, &p->layer, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int32_t groups = tg_positions(w) / 4;
    const int32_t pixels = w->out_h * w->out_w;
    tg_sink_t sink = {out, accumulators};
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        fill(in, w->in_c, groups, pixel, pixels, scratch);
        tg_tile_outputs(p, scratch, groups, tg_min(TG_TILE, pixels - pixel), sink);
        sink = tg_sink_at(sink, TG_TILE * w->out_c);
    }
}
