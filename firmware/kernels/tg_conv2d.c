#include "tg_columns.h"
#include "tg_conv2d_pairs.h"

void tg_conv2d_int8(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_convolution(&p->window, &p->layer, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int8_t zero_point = (int8_t)p->layer.in_zero_point;
    const int32_t groups = tg_positions(w) / 4;
    const int32_t pixels = w->out_h * w->out_w;
    tg_tile_t tile;
    tile.next_y = 0;
    tile.next_x = 0;
    tg_columns_begin(w, zero_point, scratch);
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        const int32_t count = tg_min(TG_TILE, pixels - pixel);
        const tg_sink_t sink = tg_sink_at((tg_sink_t){out, accumulators}, pixel * w->out_c);
        tg_tile_next(w, &tile);
        const tg_lane_t *columns = tg_columns(w, zero_point, in, &tile, scratch);
        tg_tile_outputs(p, columns, groups, count, sink);
    }
}
