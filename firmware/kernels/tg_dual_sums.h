/* What the kernels for dual-channel words share: corrections and segments.
 *
 * Scratch: corrections, int32 [blocks][TG_TILE], or [blocks][TG_DUAL_PAIRS] for one pixel; then the
 * activations as int16.
 */
#ifndef TG_DUAL_SUMS_H
#define TG_DUAL_SUMS_H

#include "tg_dual.h"
#include "tg_kernels.h"
#include "tg_trits.h"

#include <stddef.h>

/* The address of the activations, which follow the corrections. */
static inline void *tg_dual_activations(const tg_dual_t *p, void *scratch)
{
    const int32_t blocks = (p->words + p->block_words - 1) / p->block_words;
    return (int32_t *)scratch + (ptrdiff_t)(blocks * TG_TILE);
}

typedef void (*tg_dual_kernel_t)(const tg_lane_t *x, const uint32_t *trits, const tg_dual_run_t *run,
                                 tg_dual_sums_t *sums);

/* The first segment of every window. */
static inline tg_dual_run_t tg_dual_first(const tg_dual_t *p, const int32_t *corrections)
{
    return (tg_dual_run_t){tg_min(p->words, p->segment_words), p->block_words, corrections};
}

/* Add the segments of a window after the first, if there are any. The kernel has `accumulators` accumulators;
 * each word advances the activations by x_step int16 and the trits by trits_step words. */
static inline void tg_dual_rest(const tg_dual_t *p, const tg_lane_t *x, const uint32_t *trits,
                                const int32_t *corrections, tg_dual_sums_t *sums, tg_dual_kernel_t kernel,
                                int32_t accumulators, int32_t x_step, int32_t trits_step)
{
    for (int32_t first = p->segment_words; first < p->words; first += p->segment_words) {
        const int32_t block = first / p->block_words;
        const tg_dual_run_t run = {tg_min(p->words - first, p->segment_words), p->block_words,
                                   corrections + (block * accumulators)};
        tg_dual_sums_t segment;
        kernel(x + ((ptrdiff_t)first * x_step), trits + ((ptrdiff_t)first * trits_step), &run, &segment);
        for (int32_t i = 0; i < accumulators; i++) {
            sums->of[0][i] += segment.of[0][i];
            sums->of[1][i] += segment.of[1][i];
        }
    }
}

#endif
