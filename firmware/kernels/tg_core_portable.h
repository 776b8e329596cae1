/* Plain C: what the others are measured against, and what the host's compiler makes vectors of. */
#ifndef TG_CORE_PORTABLE_H
#define TG_CORE_PORTABLE_H

#include "tg_fixed.h"

static inline tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE], int32_t words,
                                        tg_lane_t *columns)
{
    for (int32_t k = 0; k < 4 * words; k += 4) {
        for (int32_t pixel = 0; pixel < TG_TILE; pixel++) {
            const int8_t *x = source[pixel] + k;
            tg_lane_t *even = columns + (2 * pixel);
            tg_lane_t *odd = even + (2 * TG_TILE);
            even[0] = x[0];
            even[1] = x[2];
            odd[0] = x[1];
            odd[1] = x[3];
        }
        columns += 4 * TG_TILE;
    }
    return columns;
}

static inline void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups,
                                int32_t *sums)
{
    int32_t products[2 * TG_TILE] = {0};
    for (int32_t word = 0; word < 2 * groups; word++) {
        for (int32_t pixel = 0; pixel < TG_TILE; pixel++) {
            const tg_lane_t *x = columns + (2 * pixel);
            products[pixel] += (weights[0] * x[0]) + (weights[2] * x[1]);
            products[TG_TILE + pixel] += (weights[1] * x[0]) + (weights[3] * x[1]);
        }
        columns += 2 * TG_TILE;
        weights += 4;
    }
    for (int32_t i = 0; i < 2 * TG_TILE; i++) {
        sums[i] = tg_add_wrap(sums[i], products[i]);
    }
}

static inline int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    return tg_scale_narrow(acc, multiplier, right, offset);
}

#endif
