/* What the kernels over dual-channel words share: corrections, segments, and the way of their sums to int8.
 *
 * Scratch: corrections, int32 [blocks][TG_TILE]; then the activations as int16.
 */
#ifndef TG_DUAL_SUMS_H
#define TG_DUAL_SUMS_H

#include "tg_dual.h"
#include "tg_kernels.h"
#include "tg_output.h"

#include <stdbool.h>
#include <stddef.h>

/* Where the activations lie: behind the corrections. */
static inline void *tg_dual_activations(const tg_dual_t *p, void *scratch)
{
    const int32_t blocks = (p->words + p->block_words - 1) / p->block_words;
    return (int32_t *)scratch + (ptrdiff_t)(blocks * TG_TILE);
}

typedef void (*tg_dual_kernel_t)(const tg_lane_t *x, const uint32_t *trits, const tg_dual_run_t *run,
                                 tg_dual_sums_t *sums);

/* A window's sums, segment by segment. A word is x_step int16 of activations and trits_step words of trits.
 */
static inline void tg_dual_window(const tg_dual_t *p, const tg_lane_t *x, const uint32_t *trits,
                                  const int32_t *corrections, tg_dual_sums_t *sums, tg_dual_kernel_t kernel,
                                  int32_t x_step, int32_t trits_step)
{
    tg_dual_run_t run = {tg_min(p->words, p->segment_words), p->block_words, corrections};
    kernel(x, trits, &run, sums);
    for (int32_t first = run.words; first < p->words; first += p->segment_words) {
        tg_dual_sums_t segment;
        run.words = tg_min(p->words - first, p->segment_words);
        run.corrections = corrections + ((first / p->block_words) * TG_TILE);
        kernel(x + ((ptrdiff_t)first * x_step), trits + ((ptrdiff_t)first * trits_step), &run, &segment);
        for (int32_t i = 0; i < TG_TILE; i++) {
            sums->low[i] += segment.low[i];
            sums->high[i] += segment.high[i];
        }
    }
}

/* One channel's sums at count pixels, whatever the scales and the clamp. */
__attribute__((noinline, unused)) static void tg_dual_output(const tg_dual_t *p,
                                                             const tg_trit_channel_t *lane,
                                                             const int32_t *sums, int32_t count, tg_sink_t to)
{
    const int32_t step = p->window.out_c;
    for (int32_t i = lane->channel; count > 0; count--) {
        const int32_t acc = tg_add_wrap(*sums++ * lane->magnitude, lane->bias);
        const int32_t scaled = tg_multiply(acc, lane->multiplier, lane->shift);
        to.out[i] = tg_clamp(tg_add_wrap(scaled, p->out_zero_point), p->act_min, p->act_max);
        if (to.accumulators != NULL) {
            to.accumulators[i] = acc;
        }
        i += step;
    }
}

/* The outputs of most layers are narrow, clamped where int8 ends, and no logits. */
static inline bool tg_dual_is_plain(const tg_dual_t *p, tg_sink_t to)
{
    return (p->narrow != 0) && (p->act_min == INT8_MIN) && (p->act_max == INT8_MAX) &&
           (to.accumulators == NULL);
}

/* One sum of a plain layer. */
static inline int8_t tg_dual_plain(const tg_trit_channel_t *lane, int32_t sum, int32_t offset)
{
    const int32_t acc = (sum * lane->magnitude) + lane->bias;
    return tg_dual_saturate(tg_core_scale(acc, lane->multiplier, -lane->shift, offset));
}

#endif
