/* Dual-channel words with vectors. What SMLAD does for one pixel or one pair of channels, VPMADDWD does for
 * eight pixels or four pairs. */
#ifndef TG_DUAL_HOST_H
#define TG_DUAL_HOST_H

#ifdef TG_CORE_VECTORS
#define TG_DUAL_HAS_LOOPS
#endif
#include "tg_dual_portable.h"

#ifdef TG_CORE_VECTORS

/* The low 14 bits as a signed value. */
#define TG_DUAL_LOW(acc) (((acc) << 18) >> 18)

static inline void tg_dual_pair(const tg_lane_t *columns, const uint32_t *trits, const tg_dual_run_t *run,
                                tg_dual_sums_t *sums)
{
    const int32_t *correction = run->corrections;
    tg_words_t acc[TG_VECTORS] = {{0}};
    tg_words_t low[TG_VECTORS] = {{0}};
    for (int32_t first = 0; first < run->words; first += run->block_words) {
        for (int32_t i = 0; i < TG_VECTORS; i++) {
            acc[i] += tg_host_load(correction + (TG_VECTOR * i));
        }
        correction += TG_TILE;
        const int32_t end = tg_min(first + run->block_words, run->words);
        for (int32_t word = first; word < end; word++) {
            uint32_t turned = *trits++;
            for (int32_t step = 0; step < 4; step++) {
                const tg_lanes_t lanes = (tg_lanes_t)tg_host_all((int32_t)(turned & TG_DUAL_MASK));
                for (int32_t i = 0; i < TG_VECTORS; i++) {
                    const tg_words_t x = tg_host_load(columns + (2 * TG_VECTOR * i));
                    acc[i] = tg_host_multiply_add(acc[i], x, lanes);
                }
                columns += 2 * TG_TILE;
                turned = tg_dual_turn(turned);
            }
        }
        for (int32_t i = 0; i < TG_VECTORS; i++) {
            low[i] += TG_DUAL_LOW(acc[i]);
            acc[i] -= TG_DUAL_LOW(acc[i]);
        }
    }
    for (int32_t i = 0; i < TG_VECTORS; i++) {
        tg_host_store(sums->of[0] + (TG_VECTOR * i), low[i]);
        tg_host_store(sums->of[1] + (TG_VECTOR * i), acc[i] >> 14);
    }
}

typedef int16_t tg_half_lanes_t __attribute__((vector_size(16)));
typedef uint32_t tg_half_bits_t __attribute__((vector_size(16)));

static inline void tg_dual_pairs(const tg_lane_t *x, const uint32_t *trits, const tg_dual_run_t *run,
                                 tg_dual_sums_t *sums)
{
    const int32_t *correction = run->corrections;
    tg_half_t acc = {0};
    tg_half_t low = {0};
    for (int32_t first = 0; first < run->words; first += run->block_words) {
        const int32_t block = tg_min(run->block_words, run->words - first);
        tg_half_t start;
        (void)memcpy(&start, correction, sizeof start);
        acc += start;
        correction += TG_DUAL_PAIRS;
        for (int32_t word = 0; word < block; word++) {
            tg_half_bits_t turned;
            (void)memcpy(&turned, trits, sizeof turned);
            trits += TG_DUAL_PAIRS;
            for (int32_t step = 0; step < 4; step++) {
                int32_t both;
                (void)memcpy(&both, x, sizeof both);
                x += 2;
                const tg_half_lanes_t lanes = (tg_half_lanes_t)(turned & TG_DUAL_MASK);
                const tg_half_lanes_t shared = (tg_half_lanes_t)(tg_half_t){both, both, both, both};
                acc += (tg_half_t)__builtin_ia32_pmaddwd128(shared, lanes);
                turned = (turned >> 4) | (turned << 28);
            }
        }
        low += TG_DUAL_LOW(acc);
        acc -= TG_DUAL_LOW(acc);
    }
    const tg_half_t high = acc >> 14;
    (void)memcpy(sums->of[0], &low, sizeof low);
    (void)memcpy(sums->of[1], &high, sizeof high);
}

static inline const tg_lane_t *tg_dual_minus(const tg_lane_t *columns, int32_t words, int32_t *sums)
{
    tg_words_t total[TG_VECTORS] = {{0}};
    const tg_lanes_t minus = (tg_lanes_t)tg_host_all(-1); /* both lanes -1 */
    for (int32_t step = 0; step < 4 * words; step++) {
        for (int32_t i = 0; i < TG_VECTORS; i++) {
            total[i] = tg_host_multiply_add(total[i], tg_host_load(columns + (2 * TG_VECTOR * i)), minus);
        }
        columns += 2 * TG_TILE;
    }
    for (int32_t i = 0; i < TG_VECTORS; i++) {
        tg_host_store(sums + (TG_VECTOR * i), total[i]);
    }
    return columns;
}

#endif

#endif
