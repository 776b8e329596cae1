/* Dual-channel words in plain C. */
#ifndef TG_DUAL_PORTABLE_H
#define TG_DUAL_PORTABLE_H

#include "tg_fixed.h"

#define TG_DUAL_MASK 0xC003C003u

/* Does what SMLAD does: multiply both lanes and add their products. The sum may wrap. */
static inline int32_t tg_dual_add(int32_t acc, uint32_t lanes, const tg_lane_t *x)
{
    return tg_add_wrap(acc, ((int16_t)(lanes & 0xFFFFu) * x[0]) + ((int16_t)(lanes >> 16) * x[1]));
}

static inline uint32_t tg_dual_turn(uint32_t word)
{
    return (word >> 4) | (word << 28);
}

#ifndef TG_DUAL_HAS_LOOPS

static inline void tg_dual_split(int32_t *acc, int32_t *low, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        const int32_t s0 = (int32_t)((uint32_t)acc[i] << 18) >> 18;
        acc[i] -= s0;
        low[i] += s0;
    }
}

/* If pixels is set, the accumulators share a word of trits and each has its own activations; otherwise they
 * share one pixel's activations and each has its own word. */
__attribute__((always_inline)) static inline void tg_dual_loop(const tg_lane_t *x, const uint32_t *trits,
                                                               const tg_dual_run_t *run, tg_dual_sums_t *sums,
                                                               int32_t pixels)
{
    const int32_t count = (pixels == 1) ? TG_DUAL_PAIRS : pixels;
    int32_t acc[TG_TILE] = {0};
    const int32_t *correction = run->corrections;
    *sums = (tg_dual_sums_t){{{0}, {0}}};
    for (int32_t first = 0; first < run->words; first += run->block_words) {
        for (int32_t i = 0; i < count; i++) {
            acc[i] = tg_add_wrap(acc[i], *correction++);
        }
        const int32_t end = tg_min(first + run->block_words, run->words);
        for (int32_t word = first; word < end; word++) {
            uint32_t turned[TG_TILE];
            for (int32_t i = 0; i < count; i++) {
                turned[i] = (pixels == 1) ? trits[i] : *trits;
            }
            trits += count / pixels;
            for (int32_t step = 0; step < 4; step++) {
                for (int32_t i = 0; i < count; i++) {
                    acc[i] = tg_dual_add(acc[i], turned[i] & TG_DUAL_MASK, x + ((pixels == 1) ? 0 : (2 * i)));
                    turned[i] = tg_dual_turn(turned[i]);
                }
                x += 2 * pixels;
            }
        }
        tg_dual_split(acc, sums->of[0], count);
    }
    for (int32_t i = 0; i < count; i++) {
        sums->of[1][i] = acc[i] >> 14;
    }
}

static inline void tg_dual_pair(const tg_lane_t *columns, const uint32_t *trits, const tg_dual_run_t *run,
                                tg_dual_sums_t *sums)
{
    tg_dual_loop(columns, trits, run, sums, TG_TILE);
}

static inline void tg_dual_pairs(const tg_lane_t *x, const uint32_t *trits, const tg_dual_run_t *run,
                                 tg_dual_sums_t *sums)
{
    tg_dual_loop(x, trits, run, sums, 1);
}

static inline const tg_lane_t *tg_dual_minus(const tg_lane_t *columns, int32_t words, int32_t *sums)
{
    for (int32_t i = 0; i < TG_TILE; i++) {
        sums[i] = 0;
    }
    for (int32_t step = 0; step < 4 * words; step++) {
        for (int32_t i = 0; i < TG_TILE; i++) {
            sums[i] -= columns[2 * i] + columns[(2 * i) + 1];
        }
        columns += 2 * TG_TILE;
    }
    return columns;
}

#endif

static inline int32_t tg_dual_minus_row(const tg_lane_t *x, int32_t words)
{
    int32_t sum = 0;
    for (int32_t k = 0; k < words * TG_DUAL_K; k++) {
        sum -= x[k];
    }
    return sum;
}

static inline void tg_dual_expand(const int8_t *bytes, tg_lane_t *x)
{
    x[0] = bytes[0];
    x[1] = bytes[2];
    x[2] = bytes[1];
    x[3] = bytes[3];
}

#endif
