/* tg_trit_lanes.h in plain C. */
#ifndef TG_TRIT_LANES_PORTABLE_H
#define TG_TRIT_LANES_PORTABLE_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_output.h"
#include "tg_trits.h"

#define TG_TRIT_BLOCK 64
#define TG_TRIT_WORD 16

/* Turn the trits of a block or a word, `count` positions of it, into -2, -1, 0 or 1 each. */
static inline void tg_trit_lanes_decode(const uint8_t *trits, int32_t count, int8_t *weights)
{
    const int32_t bytes = count / 4;
    for (int32_t i = 0; i < count; i++) {
        const uint32_t code = (uint32_t)trits[i % bytes] >> (2 * (i / bytes));
        weights[i] = (int8_t)((int32_t)((code & 3u) ^ 2u) - 2);
    }
}

__attribute__((unused)) static void tg_trit_lanes_tile(const tg_conv2d_trits_t *p, const int8_t *windows,
                                                       int32_t positions, int32_t pixels, int8_t *out)
{
    const uint8_t *trits = p->trits;
    for (int32_t channel = 0; channel < p->window.out_c; channel++) {
        int32_t sums[TG_TILE] = {0};
        for (int32_t first = 0; first < positions;) {
            const int32_t left = positions - first;
            const int32_t count = (left < TG_TRIT_BLOCK) ? TG_TRIT_WORD : TG_TRIT_BLOCK;
            int8_t weights[TG_TRIT_BLOCK];
            tg_trit_lanes_decode(trits, count, weights);
            trits += count / 4;
            for (int32_t i = 0; i < pixels; i++) {
                const int8_t *x = windows + (i * positions) + first;
                for (int32_t k = 0; k < tg_min(left, count); k++) {
                    sums[i] += weights[k] * x[k];
                }
            }
            first += count;
        }
        for (int32_t i = 0; i < pixels; i++) {
            const tg_sink_t to = {out + (i * p->window.out_c), NULL};
            tg_trits_any(&p->scale, &p->channels[channel], sums[i], to);
        }
    }
}

#endif
