#include "tg_columns.h"
#include "tg_dual_sums.h"

#include <stdbool.h>

/* If the positions end in the middle of a word, the last word also reads the columns after them. The trits
 * there are zero, and the corrections cancel what the + 1 of the low lanes adds for them. */
static void corrections_of(const tg_dual_t *p, const tg_lane_t *columns, int32_t *corrections)
{
    for (int32_t left = p->words; left > 0; left -= p->block_words) {
        columns = tg_dual_minus(columns, tg_min(left, p->block_words), corrections);
        corrections += TG_TILE;
    }
}

/* Store the outputs of a pair of channels at all pixels of a tile. */
__attribute__((noinline)) static void plain_outputs(const tg_trit_channel_t *lane, const tg_dual_sums_t *sums,
                                                    int8_t *out, int32_t step, int32_t zero_point)
{
    for (int32_t half = 0; half < 2; half++) {
        const tg_trit_narrow_t narrow = tg_trits_narrow(lane, zero_point);
        int8_t *to = out + lane->channel;
        if (lane->channel < 0) {
            break;
        }
#pragma GCC unroll 4
        for (int32_t i = 0; i < TG_TILE; i++) {
            *to = tg_trits_plain(narrow, sums->of[half][i]);
            to += step;
        }
        lane++;
    }
}

static void any_outputs(const tg_dual_t *p, int32_t lane, const int32_t *sums, int32_t count, tg_sink_t to)
{
    if (p->lanes[lane].channel < 0) {
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        tg_trits_any(&p->scale, p->lanes + lane, sums[i], tg_sink_at(to, i * p->window.out_c));
    }
}

static void tile_outputs(const tg_dual_t *p, const tg_lane_t *columns, const int32_t *corrections,
                         int32_t count, tg_sink_t to)
{
    const bool plain = (count == TG_TILE) && tg_trits_are_plain(&p->scale, to);
    const tg_dual_run_t first = tg_dual_first(p, corrections);
    const uint32_t *trits = p->trits;
    for (int32_t lane = 0; lane < 2 * p->pairs; lane += 2) {
        tg_dual_sums_t sums;
        tg_dual_pair(columns, trits, &first, &sums);
        tg_dual_rest(p, columns, trits, corrections, &sums, tg_dual_pair, TG_TILE, TG_DUAL_K * TG_TILE, 1);
        if (plain) {
            plain_outputs(p->lanes + lane, &sums, to.out, p->window.out_c, p->scale.zero_point);
        } else {
            any_outputs(p, lane, sums.of[0], count, to);
            any_outputs(p, lane + 1, sums.of[1], count, to);
        }
        trits += p->words;
    }
}

void tg_conv2d_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_dual(p, 1, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int8_t zero_point = (int8_t)p->in_zero_point;
    const int32_t pixels = w->out_h * w->out_w;
    int32_t *corrections = scratch;
    void *activations = tg_dual_activations(p, scratch);
    tg_sink_t to = {out, accumulators};
    tg_tile_t tile;
    tile.next_y = 0;
    tile.next_x = 0;
    tg_columns_begin(w, zero_point, activations);
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        tg_tile_next(w, &tile);
        const tg_lane_t *columns = tg_columns(w, zero_point, in, &tile, activations);
        corrections_of(p, columns, corrections);
        tile_outputs(p, columns, corrections, tg_min(TG_TILE, pixels - pixel), to);
        to = tg_sink_at(to, TG_TILE * w->out_c);
    }
}
