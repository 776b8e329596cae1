#include "tg_dual_sums.h"

#include <string.h>

/* Widen a row to int16 in the order of columns, with zeros up to a whole word. */
static void expand(const int8_t *row, int32_t depth, int32_t padded, tg_lane_t *x)
{
    const tg_lane_t *end = x + padded;
    for (int32_t k = depth; k >= 4; k -= 4) {
        tg_dual_expand(row, x);
        row += 4;
        x += 4;
    }
    int8_t last[4] = {0};
    for (int32_t k = 0; k < (depth % 4); k++) {
        last[k] = row[k];
    }
    for (; x != end; x += 4) {
        tg_dual_expand(last, x);
        (void)memset(last, 0, sizeof last);
    }
}

/* The four accumulators share their activations and therefore also their correction. */
static void corrections_of(const tg_dual_t *p, const tg_lane_t *x, int32_t *corrections)
{
    for (int32_t left = p->words; left > 0; left -= p->block_words) {
        const int32_t words = tg_min(left, p->block_words);
        const int32_t sum = tg_dual_minus_row(x, words);
        for (int32_t i = 0; i < TG_DUAL_PAIRS; i++) {
            *corrections++ = sum;
        }
        x += words * TG_DUAL_K;
    }
}

/* Store the low or the high channels of a group; the first lane without a channel ends them. */
static void outputs(const tg_dual_t *p, const tg_trit_channel_t *lane, const int32_t *sums, tg_sink_t to)
{
    const bool plain = tg_trits_are_plain(&p->scale, (tg_sink_t){to.out, NULL});
    const int32_t zero_point = p->scale.zero_point;
    for (const int32_t *end = sums + TG_DUAL_PAIRS; (sums != end) && (lane->channel >= 0); sums++) {
        if (plain) {
            const int32_t right = -lane->shift;
            const int32_t acc = (*sums * lane->magnitude) + lane->bias;
            const int32_t offset = tg_scale_offset(zero_point, right);
            to.out[lane->channel] = tg_saturate(tg_core_scale(acc, lane->multiplier, right, offset));
            if (to.accumulators != NULL) {
                to.accumulators[lane->channel] = acc;
            }
        } else {
            tg_trits_any(&p->scale, lane, *sums, to);
        }
        lane++;
    }
}

void tg_dense_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_dual(p, TG_DUAL_PAIRS, in, out, accumulators)) {
        return;
    }
#endif
    const int32_t depth = p->window.in_c;
    tg_sink_t to = {out, accumulators};
    int32_t *corrections = scratch;
    const tg_dual_run_t first = tg_dual_first(p, corrections);
    tg_lane_t *x = tg_dual_activations(p, scratch);
    for (int32_t row = 0; row < p->window.out_w; row++) {
        const uint32_t *trits = p->trits;
        expand(in + ((ptrdiff_t)row * depth), depth, p->words * TG_DUAL_K, x);
        corrections_of(p, x, corrections);
        for (int32_t lane = 0; lane < 2 * p->pairs; lane += 2 * TG_DUAL_PAIRS) {
            tg_dual_sums_t sums;
            tg_dual_pairs(x, trits, &first, &sums);
            tg_dual_rest(p, x, trits, corrections, &sums, tg_dual_pairs, TG_DUAL_PAIRS, TG_DUAL_K,
                         TG_DUAL_PAIRS);
            trits += (ptrdiff_t)p->words * TG_DUAL_PAIRS;
            outputs(p, p->lanes + lane, sums.of[0], to);
            outputs(p, p->lanes + lane + TG_DUAL_PAIRS, sums.of[1], to);
        }
        to = tg_sink_at(to, p->window.out_c);
    }
}
