/* Dual-channel words for cores with integer vectors (MVE). A word rotated by 0, 4, 8 and 12 bits is a vector
 * of eight lanes. VMLADAVA multiplies it with the eight positions of a pixel and adds up the 16 products of
 * two channels, modulo 2^32 like the accumulator of tg_dual.h.
 *
 *     vector      | word ror 12 | word ror 8 | word ror 4 | word |  & 0xC003C003
 *     columns     |   x5   x7   |  x4   x6   |  x1   x3   | x0 x2 |   (VLD4 takes four pixels apart)
 */
#ifndef TG_DUAL_M55_H
#define TG_DUAL_M55_H

#define TG_DUAL_HAS_LOOPS

#include "tg_dual_m4.h"

#include <arm_mve.h>

#define TG_DUAL_MASK 0xC003C003u

/* The trits of a word. VSHL shifts right if the amount is negative, and a shift by 32 gives zero. */
static inline int16x8_t tg_dual_lanes(uint32_t word)
{
    const int32x4_t right = {0, -4, -8, -12};
    const int32x4_t left = {32, 28, 24, 20};
    const uint32x4_t all = vdupq_n_u32(word);
    const uint32x4_t turned = vorrq_u32(vshlq_u32(all, right), vshlq_u32(all, left));
    return vreinterpretq_s16_u32(vandq_u32(turned, vdupq_n_u32(TG_DUAL_MASK)));
}

/* Move S0 from each accumulator to its sum. */
static inline void tg_dual_split(int32_t *acc, int32_t *low)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < TG_TILE; i++) {
        const int32_t s0 = (int32_t)((uint32_t)acc[i] << 18) >> 18;
        acc[i] -= s0;
        low[i] += s0;
    }
}

/* Both kernels loop over a block's words between this function and tg_dual_split. Returns the corrections of
 * the next block. */
static inline const int32_t *tg_dual_begin(const int32_t *corrections, int32_t *acc)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < TG_TILE; i++) {
        acc[i] = tg_add_wrap(acc[i], corrections[i]);
    }
    return corrections + TG_TILE;
}

static inline void tg_dual_end(const int32_t *acc, int32_t *high)
{
    for (int32_t i = 0; i < TG_TILE; i++) {
        high[i] = acc[i] >> 14;
    }
}

__attribute__((noinline, unused)) static void tg_dual_pair(const tg_lane_t *columns, const uint32_t *trits,
                                                           const tg_dual_run_t *run, tg_dual_sums_t *sums)
{
    const int32_t *correction = run->corrections;
    int32_t acc[TG_TILE] = {0};
    *sums = (tg_dual_sums_t){{{0}, {0}}};
    for (int32_t first = 0; first < run->words; first += run->block_words) {
        correction = tg_dual_begin(correction, acc);
        for (int32_t left = tg_min(run->block_words, run->words - first); left > 0; left--) {
            const int16x8_t lanes = tg_dual_lanes(*trits++);
            const int32x4x4_t x = vld4q_s32((const int32_t *)(const void *)columns);
            columns += TG_DUAL_K * TG_TILE;
#pragma GCC unroll 4
            for (int32_t i = 0; i < TG_TILE; i++) {
                acc[i] = vmladavaq_s16(acc[i], lanes, vreinterpretq_s16_s32(x.val[i]));
            }
        }
        tg_dual_split(acc, sums->of[0]);
    }
    tg_dual_end(acc, sums->of[1]);
}

__attribute__((noinline, unused)) static void tg_dual_pairs(const tg_lane_t *x, const uint32_t *trits,
                                                            const tg_dual_run_t *run, tg_dual_sums_t *sums)
{
    const int32_t *correction = run->corrections;
    int32_t acc[TG_DUAL_PAIRS] = {0};
    *sums = (tg_dual_sums_t){{{0}, {0}}};
    for (int32_t first = 0; first < run->words; first += run->block_words) {
        correction = tg_dual_begin(correction, acc);
        for (int32_t left = tg_min(run->block_words, run->words - first); left > 0; left--) {
            const int16x8_t lanes = vldrhq_s16(x);
            x += TG_DUAL_K;
#pragma GCC unroll 4
            for (int32_t i = 0; i < TG_DUAL_PAIRS; i++) {
                acc[i] = vmladavaq_s16(acc[i], tg_dual_lanes(*trits++), lanes);
            }
        }
        tg_dual_split(acc, sums->of[0]);
    }
    tg_dual_end(acc, sums->of[1]);
}

static inline const tg_lane_t *tg_dual_minus(const tg_lane_t *columns, int32_t words, int32_t *sums)
{
    int32_t total[TG_TILE] = {0};
    for (; words > 0; words--) {
        const int32x4x4_t x = vld4q_s32((const int32_t *)(const void *)columns);
        columns += TG_DUAL_K * TG_TILE;
#pragma GCC unroll 4
        for (int32_t i = 0; i < TG_TILE; i++) {
            total[i] = vaddvaq_s16(total[i], vreinterpretq_s16_s32(x.val[i]));
        }
    }
    for (int32_t i = 0; i < TG_TILE; i++) {
        sums[i] = -total[i];
    }
    return columns;
}

#endif
