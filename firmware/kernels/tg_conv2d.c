#include "tg_columns.h"
#include "tg_output.h"

/* Compute channels a and a + 1 of a tile's first pixels. An odd last channel is paired with zero weights. */
__attribute__((noinline)) static void pair_outputs(const tg_conv2d_t *p, const tg_lane_t *columns,
                                                   int32_t groups, int32_t channel, int32_t count,
                                                   tg_sink_t tile)
{
    const int32_t channels = p->window.out_c;
    const int32_t *bias = p->layer.bias + channel;
    const int32_t second = ((channel + 1) < channels) ? bias[1] : 0;
    int32_t sums[2 * TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        sums[i] = bias[0];
        sums[TG_TILE + i] = second;
    }
    tg_core_pair(columns, p->layer.weights + ((ptrdiff_t)channel * groups * 4), groups, sums);
    for (int32_t c = channel; c < tg_min(channel + 2, channels); c++) {
        tg_output_tile(&p->layer, c, sums + ((c - channel) * TG_TILE), count, tg_sink_at(tile, c), channels);
    }
}

void tg_conv2d_int8(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const tg_window_t *w = &p->window;
    const int8_t zero_point = (int8_t)p->layer.in_zero_point;
    const int32_t groups = tg_positions(w) / 4;
    const int32_t pixels = w->out_h * w->out_w;
    tg_tile_t tile = {.next_y = 0, .next_x = 0};
    tg_columns_begin(w, zero_point, scratch);
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        const int32_t count = tg_min(TG_TILE, pixels - pixel);
        const tg_sink_t sink = tg_sink_at((tg_sink_t){out, accumulators}, pixel * w->out_c);
        tg_tile_next(w, &tile);
        const tg_lane_t *columns = tg_columns(w, zero_point, in, &tile, scratch);
        int32_t channel = 0;
        if (accumulators == NULL) {
            channel = tg_core_tile(&p->layer, w->out_c, columns, groups, count, sink.out);
        }
        for (; channel < w->out_c; channel += 2) {
            pair_outputs(p, columns, groups, channel, count, sink);
        }
    }
}
