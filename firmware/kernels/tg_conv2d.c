#include "tg_columns.h"
#include "tg_output.h"

/* The sums of channels a and a + 1 over a tile. An odd last channel has one of zero weights beside it. */
static void pair_sums(const tg_conv2d_t *p, const tg_lane_t *columns, int32_t groups, int32_t channel,
                      int32_t *sums)
{
    const int32_t *bias = p->layer.bias + channel;
    const int32_t second = ((channel + 1) < p->window.out_c) ? bias[1] : 0;
    for (int32_t i = 0; i < TG_TILE; i++) {
        sums[i] = bias[0];
        sums[TG_TILE + i] = second;
    }
    tg_core_pair(columns, p->layer.weights + ((ptrdiff_t)channel * groups * 4), groups, sums);
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
        tg_tile_next(w, &tile);
        const tg_lane_t *columns = tg_columns(w, zero_point, in, &tile, scratch);
        for (int32_t channel = 0; channel < w->out_c; channel += 2) {
            int32_t sums[2 * TG_TILE];
            pair_sums(p, columns, groups, channel, sums);
            const int32_t both = tg_min(2, w->out_c - channel);
            for (int32_t i = 0; i < both; i++) {
                const int32_t element = (pixel * w->out_c) + channel + i;
                const tg_sink_t sink = {out + element,
                                        (accumulators == NULL) ? NULL : (accumulators + element)};
                tg_output_tile(&p->layer, channel + i, sums + (i * TG_TILE), count, sink, w->out_c);
            }
        }
    }
}
