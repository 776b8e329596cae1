/* Plain C, which is the reference for the other headers and which the host's compiler vectorizes. A core that
 * implements a part itself (TG_CORE_HAS_) takes the rest from here. */
#ifndef TG_CORE_PORTABLE_H
#define TG_CORE_PORTABLE_H

#include "tg_core_copy.h"
#include "tg_fixed.h"

#ifndef TG_CORE_HAS_EXPAND
TG_CORE tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE], int32_t words, tg_lane_t *columns)
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
#endif

#ifndef TG_CORE_HAS_PAIR
TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
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
#endif

#ifndef TG_CORE_HAS_TILE
TG_CORE int32_t tg_core_tile(const tg_weighted_t *layer, int32_t channels, const tg_lane_t *columns,
                             int32_t groups, int32_t pixels, int8_t *out)
{
    (void)layer, (void)channels, (void)columns, (void)groups, (void)pixels, (void)out;
    return 0;
}
#endif

TG_CORE void tg_core_split(const int8_t *from, int32_t step, int32_t count, int32_t channels, tg_lane_t *to,
                           int32_t plane)
{
    int32_t i = 0;
    for (; (channels == 4) && (i < count); i++) {
        to[0] = from[0];
        to[plane] = from[1];
        to[2 * plane] = from[2];
        to[3 * plane] = from[3];
        from += step;
        to++;
    }
    for (; i < count; i++) {
        for (int32_t c = 0; c < channels; c++) {
            to[c * plane] = from[c];
        }
        from += step;
        to++;
    }
}

#ifndef TG_CORE_HAS_FOUR
TG_CORE void tg_core_four(const tg_plane_t *plane, const tg_lane_t *x, int32_t bias, int32_t *sums)
{
    const int8_t *w = plane->weights;
    int32_t own[TG_FOUR] = {bias, bias, bias, bias};
    for (int32_t ky = 0; ky < plane->height; ky++) {
        for (int32_t kx = 0; kx < plane->width; kx++) {
            for (int32_t i = 0; i < TG_FOUR; i++) {
                own[i] = tg_add_wrap(own[i], *w * x[(i * plane->stride) + (kx * plane->gap)]);
            }
            w++;
        }
        x += plane->pitch * plane->dilation;
    }
    for (int32_t i = 0; i < TG_FOUR; i++) {
        sums[i] = own[i];
    }
}
#endif

TG_CORE void tg_core_max(int8_t *best, const int8_t *x, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        best[i] = (best[i] > x[i]) ? best[i] : x[i];
    }
}

TG_CORE void tg_core_vector(const int8_t *from, int32_t words, tg_lane_t *to)
{
    for (int32_t k = 0; k < 4 * words; k += 4) {
        to[k] = from[k];
        to[k + 1] = from[k + 2];
        to[k + 2] = from[k + 1];
        to[k + 3] = from[k + 3];
    }
}

#ifndef TG_CORE_HAS_QUAD
TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end, const int8_t *const weights[2],
                          int32_t *sums)
{
    const int32_t positions = (int32_t)(end - vector);
    for (int32_t pair = 0; pair < 2; pair++) {
        const int8_t *w = weights[pair];
        int32_t a = 0;
        int32_t b = 0;
        for (int32_t k = 0; k < positions; k += 2) {
            a += (w[2 * k] * vector[k]) + (w[(2 * k) + 2] * vector[k + 1]);
            b += (w[(2 * k) + 1] * vector[k]) + (w[(2 * k) + 3] * vector[k + 1]);
        }
        sums[2 * pair] = tg_add_wrap(sums[2 * pair], a);
        sums[(2 * pair) + 1] = tg_add_wrap(sums[(2 * pair) + 1], b);
    }
}
#endif

#ifndef TG_CORE_HAS_SUM
TG_CORE void tg_core_sum(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *sums)
{
    for (int32_t i = 0; i < count; i++) {
        for (int32_t c = 0; c < channels; c++) {
            sums[c] += from[(i * step) + c];
        }
    }
}
#endif

#ifndef TG_CORE_HAS_SCALE
TG_CORE int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    return tg_scale_narrow(acc, multiplier, right, offset);
}

TG_CORE int32_t tg_core_scale_twice(int32_t twice, int32_t multiplier, int32_t right, int32_t offset)
{
    const int64_t product = ((int64_t)twice * multiplier) + (INT64_C(1) << 31);
    return ((int32_t)(product >> 32) + offset + (twice >> 31)) >> right;
}
#endif

#endif
