#include "tg_dual_sums.h"

/* A row as int16 in the order of columns, zeros up to a whole word. */
static void expand(const int8_t *row, int32_t depth, int32_t padded, tg_lane_t *x)
{
    for (int32_t k = 0; k < padded; k += 4) {
        for (int32_t i = 0; i < 4; i++) {
            const int32_t from = k + (2 * (i & 1)) + (i >> 1);
            x[k + i] = (from < depth) ? row[from] : 0;
        }
    }
}

static void corrections_of(const tg_dual_t *p, const tg_lane_t *x, int32_t *corrections)
{
    for (int32_t first = 0; first < p->words; first += p->block_words) {
        const int32_t end = tg_min(first + p->block_words, p->words);
        int32_t sum = 0;
        for (int32_t k = first * TG_DUAL_K; k < end * TG_DUAL_K; k++) {
            sum -= x[k];
        }
        for (int32_t i = 0; i < TG_TILE; i++) {
            *corrections++ = sum;
        }
    }
}

static void outputs(const tg_dual_t *p, const tg_trit_channel_t *lane, const tg_dual_sums_t *sums,
                    tg_sink_t to)
{
    const bool plain = tg_dual_is_plain(p, to);
    for (int32_t i = 0; i < 2 * TG_TILE; i++) {
        const int32_t *sum = ((i % 2) == 0) ? (sums->low + (i / 2)) : (sums->high + (i / 2));
        if (lane->channel < 0) {
            break;
        }
        if (plain) {
            to.out[lane->channel] =
                tg_dual_plain(lane, *sum, tg_scale_offset(p->out_zero_point, -lane->shift));
        } else {
            tg_dual_output(p, lane, sum, 1, to);
        }
        lane++;
    }
}

void tg_dense_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const int32_t depth = p->window.in_c;
    tg_sink_t to = {out, accumulators};
    int32_t *corrections = scratch;
    tg_lane_t *x = tg_dual_activations(p, scratch);
    for (int32_t row = 0; row < p->window.out_w; row++) {
        const uint32_t *trits = p->trits;
        expand(in + ((ptrdiff_t)row * depth), depth, p->words * TG_DUAL_K, x);
        corrections_of(p, x, corrections);
        for (int32_t lane = 0; lane < 2 * p->pairs; lane += 2 * TG_TILE) {
            tg_dual_sums_t sums;
            tg_dual_window(p, x, trits, corrections, &sums, tg_dual_pairs, TG_DUAL_K, TG_TILE);
            trits += (ptrdiff_t)p->words * TG_TILE;
            outputs(p, p->lanes + lane, &sums, to);
        }
        to.out += p->window.out_c;
        if (accumulators != NULL) {
            to.accumulators += p->window.out_c;
        }
    }
}
