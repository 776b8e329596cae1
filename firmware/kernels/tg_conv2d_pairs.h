/* What convolutions over columns do with a tile. */
#ifndef TG_CONV2D_PAIRS_H
#define TG_CONV2D_PAIRS_H

#include "tg_core.h"
#include "tg_output.h"

/* Compute channels a and a + 1 of a tile's first pixels. An odd last channel is paired with zero weights. */
__attribute__((noinline, unused)) static void tg_pair_outputs(const tg_conv2d_t *p, const tg_lane_t *columns,
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

/* Compute all channels of a tile's first `count` pixels. */
static inline void tg_tile_outputs(const tg_conv2d_t *p, const tg_lane_t *columns, int32_t groups,
                                   int32_t count, tg_sink_t tile)
{
    int32_t channel = 0;
    if (tile.accumulators == NULL) {
        channel = tg_core_tile(&p->layer, p->window.out_c, columns, groups, count, tile.out);
    }
    for (; channel < p->window.out_c; channel += 2) {
        tg_pair_outputs(p, columns, groups, channel, count, tile);
    }
}

#endif
