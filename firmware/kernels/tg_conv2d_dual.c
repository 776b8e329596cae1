#include "tg_columns.h"
#include "tg_dual_sums.h"

#include <stdbool.h>

/* Where positions end half a word early, the last word reads columns that lie behind them: their trits are
 * zero, and the corrections take back what the + 1 of the low lanes makes of them. */
static void corrections_of(const tg_dual_t *p, const tg_lane_t *columns, int32_t *corrections)
{
    for (int32_t left = p->words; left > 0; left -= p->block_words) {
        columns = tg_dual_minus(columns, tg_min(left, p->block_words), corrections);
        corrections += TG_TILE;
    }
}

/* A pair of channels at all pixels of a tile. */
__attribute__((noinline)) static void outputs(const tg_trit_channel_t *lane, const int32_t *sums, int8_t *out,
                                              int32_t step, int32_t zero_point)
{
    for (int32_t half = 0; half < 2; half++) {
        const tg_trit_channel_t channel = *lane++;
        const int32_t offset = tg_scale_offset(zero_point, -channel.shift);
        int8_t *to = out + channel.channel;
        if (channel.channel < 0) {
            break;
        }
#pragma GCC unroll 4
        for (int32_t i = 0; i < TG_TILE; i++) {
            *to = tg_dual_plain(&channel, *sums++, offset);
            to += step;
        }
    }
}

void tg_conv2d_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const tg_window_t *w = &p->window;
    const int8_t zero_point = (int8_t)p->in_zero_point;
    const int32_t pixels = w->out_h * w->out_w;
    tg_sink_t to = {out, accumulators};
    int32_t *corrections = scratch;
    void *activations = tg_dual_activations(p, scratch);
    tg_tile_t tile = {.next_y = 0, .next_x = 0};
    tg_columns_begin(w, zero_point, activations);
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        const int32_t count = tg_min(TG_TILE, pixels - pixel);
        const bool plain = (count == TG_TILE) && tg_dual_is_plain(p, to);
        const uint32_t *trits = p->trits;
        tg_tile_next(w, &tile);
        const tg_lane_t *columns = tg_columns(w, zero_point, in, &tile, activations);
        corrections_of(p, columns, corrections);
        for (int32_t lane = 0; lane < 2 * p->pairs; lane += 2) {
            tg_dual_sums_t sums;
            tg_dual_window(p, columns, trits, corrections, &sums, tg_dual_pair, TG_DUAL_K * TG_TILE, 1);
            trits += p->words;
            if (plain) {
                outputs(p->lanes + lane, sums.low, to.out, w->out_c, p->out_zero_point);
            } else {
                tg_dual_output(p, p->lanes + lane, sums.low, count, to);
                tg_dual_output(p, p->lanes + lane + 1, sums.high,
                               (p->lanes[lane + 1].channel < 0) ? 0 : count, to);
            }
        }
        to.out += TG_TILE * w->out_c;
        if (accumulators != NULL) {
            to.accumulators += TG_TILE * w->out_c;
        }
    }
}
