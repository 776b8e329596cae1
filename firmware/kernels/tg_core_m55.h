/* Cortex-M55 and M85 use integer vectors (MVE) for convolutions and dense layers, and the DSP extension for
 * the rest.
 *
 * VMLADAVA multiplies two vectors and adds all their products to one sum. Sixteen bytes of weights are eight
 * positions of two channels. After widening, the even bytes are one channel and the odd bytes the other, in
 * the order of the columns:
 *
 *     bytes          a0 b0 a2 b2 a1 b1 a3 b3 | a4 b4 a6 b6 a5 b5 a7 b7
 *     VMOVLB         a0    a2    a1    a3    | a4    a6    a5    a7
 *     VMOVLT            b0    b2    b1    b3 |    b4    b6    b5    b7
 */
#ifndef TG_CORE_M55_H
#define TG_CORE_M55_H

#define TG_CORE_HAS_PAIR
#define TG_CORE_HAS_TILE
#define TG_CORE_HAS_QUAD
#define TG_CORE_HAS_BYTES
#define TG_CORE_HAS_ADD

#include "tg_core_m4.h"

#include <arm_mve.h>

/* The lanes that four positions fill in a vector of eight: weights as bytes, inputs as words of two. */
#define TG_M55_HALF_OF_BYTES vctp8q(8)
#define TG_M55_HALF_OF_WORDS vctp32q(2)

/* Add eight positions of two channels at a tile's pixels to sums [channel][pixel]. */
static inline __attribute__((always_inline)) void tg_m55_products(int8x16_t weights, const int32x4_t *x,
                                                                  int32_t *sums)
{
    const int16x8_t a = vmovlbq_s8(weights);
    const int16x8_t b = vmovltq_s8(weights);
#pragma GCC unroll 4
    for (int32_t pixel = 0; pixel < TG_TILE; pixel++) {
        const int16x8_t lanes = vreinterpretq_s16_s32(x[pixel]);
        sums[pixel] = vmladavaq_s16(sums[pixel], a, lanes);
        sums[TG_TILE + pixel] = vmladavaq_s16(sums[TG_TILE + pixel], b, lanes);
    }
}

/* VLD4 separates the words of a tile's four pixels. */
TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    int32_t own[2 * TG_TILE];
    (void)memcpy(own, sums, sizeof own);
    for (int32_t i = groups / 2; i > 0; i--) {
        const int32x4x4_t x = vld4q_s32((const int32_t *)(const void *)columns);
        tg_m55_products(vldrbq_s8(weights), x.val, own);
        columns += 8 * TG_TILE;
        weights += 16;
    }
    if ((groups % 2) != 0) {
        const uint32x4_t words = vidupq_n_u32(0, TG_TILE); /* the words of one pixel */
        int32x4_t x[TG_TILE];
#pragma GCC unroll 4
        for (int32_t pixel = 0; pixel < TG_TILE; pixel++) {
            const int32_t *from = (const int32_t *)(const void *)(columns + (2 * pixel));
            x[pixel] = vldrwq_gather_shifted_offset_z_s32(from, words, TG_M55_HALF_OF_WORDS);
        }
        tg_m55_products(vldrbq_z_s8(weights, TG_M55_HALF_OF_BYTES), x, own);
    }
    (void)memcpy(sums, own, sizeof own);
}

TG_CORE int32_t tg_core_add(const tg_core_add_t *how, const int8_t *a, const int8_t *b, int8_t *out,
                            int32_t count)
{
    const int32x4_t multiplier = vdupq_n_s32(how->multiplier);
    const int32x4_t least = vdupq_n_s32(INT8_MIN);
    const int32x4_t greatest = vdupq_n_s32(INT8_MAX);
    for (int32_t i = count / 4; i > 0; i--) {
        const int32x4_t terms = vldrwq_gather_shifted_offset_s32(how->table, vldrbq_u32((const uint8_t *)b));
        const int32x4_t twice = vaddq_s32(terms, vshlq_n_s32(vldrbq_s32(a), TG_ADD_HEADROOM));
        const int32x4_t high = vrmulhq_s32(twice, multiplier);
        const int32x4_t sum = vaddq_n_s32(vaddq_s32(high, vshrq_n_s32(twice, 31)), how->offset);
        const int32x4_t value = vshlq_r_s32(sum, -how->right);
        vstrbq_s32(out, vminq_s32(vmaxq_s32(value, least), greatest));
        a += 4;
        b += 4;
        out += 4;
    }
    return count & ~3;
}

/* tg_scale_narrow and the clamp, with one pixel per lane. VQRDMULH is round(acc * multiplier / 2^31), halves
 * up; VSHL shifts right if the amount is negative. */
TG_CORE int32x4_t tg_m55_scale(int32x4_t acc, const tg_requant_t *q, int32_t channel)
{
    const int32_t shift = q->shift[channel];
    const int32x4_t high = vqrdmulhq_n_s32(acc, q->multiplier[channel]);
    const int32x4_t signs = vshrq_n_s32(acc, 31);
    const int32x4_t sum = vaddq_n_s32(vaddq_s32(high, signs), tg_scale_offset(q->zero_point, -shift));
    const int32x4_t value = vshlq_r_s32(sum, shift);
    return vminq_s32(vmaxq_s32(value, vdupq_n_s32(q->act_min)), vdupq_n_s32(q->act_max));
}

TG_CORE int32_t tg_core_tile(const tg_weighted_t *layer, int32_t channels, const tg_lane_t *columns,
                             int32_t groups, int32_t pixels, int8_t *out)
{
    const int32_t paired = channels & ~1;
    const int8_t *weights = layer->weights;
    const mve_pred16_t written = vctp32q((uint32_t)pixels);
    const uint32x4_t places = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)channels);
    if (layer->requant.narrow == 0) {
        return 0;
    }
    for (int32_t channel = 0; channel < paired; channel += 2) {
        int32_t sums[2 * TG_TILE];
        vst1q_s32(sums, vdupq_n_s32(layer->bias[channel]));
        vst1q_s32(sums + TG_TILE, vdupq_n_s32(layer->bias[channel + 1]));
        tg_core_pair(columns, weights, groups, sums);
        for (int32_t i = 0; i < 2; i++) {
            const int32x4_t value =
                tg_m55_scale(vld1q_s32(sums + (i * TG_TILE)), &layer->requant, channel + i);
            vstrbq_scatter_offset_p_s32(out + channel + i, places, value, written);
        }
        weights += 8 * groups;
    }
    return paired;
}

/* Add eight positions of two pairs of channels. */
static inline __attribute__((always_inline)) void tg_m55_quad(int16x8_t x, int8x16_t ab, int8x16_t cd,
                                                              int32_t *sums)
{
    sums[0] = vmladavaq_s16(sums[0], vmovlbq_s8(ab), x);
    sums[1] = vmladavaq_s16(sums[1], vmovltq_s8(ab), x);
    sums[2] = vmladavaq_s16(sums[2], vmovlbq_s8(cd), x);
    sums[3] = vmladavaq_s16(sums[3], vmovltq_s8(cd), x);
}

TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end, const int8_t *const weights[2],
                          int32_t *sums)
{
    const int8_t *ab = weights[0];
    const int8_t *cd = weights[1];
    int32_t own[4];
    (void)memcpy(own, sums, sizeof own);
    for (int32_t i = (int32_t)(end - vector) / 8; i > 0; i--) {
        tg_m55_quad(vldrhq_s16(vector), vldrbq_s8(ab), vldrbq_s8(cd), own);
        vector += 8;
        ab += 16;
        cd += 16;
    }
    if (vector != end) {
        const mve_pred16_t half = TG_M55_HALF_OF_BYTES;
        tg_m55_quad(vldrhq_z_s16(vector, half), vldrbq_z_s8(ab, half), vldrbq_z_s8(cd, half), own);
    }
    (void)memcpy(sums, own, sizeof own);
}

TG_CORE void tg_core_copy(int8_t *to, const int8_t *from, int32_t count)
{
    for (int32_t i = count / 16; i > 0; i--) {
        vstrbq_s8(to, vldrbq_s8(from));
        from += 16;
        to += 16;
    }
    if ((count % 16) != 0) {
        const mve_pred16_t rest = vctp8q((uint32_t)(count % 16));
        vstrbq_p_s8(to, vldrbq_z_s8(from, rest), rest);
    }
}

TG_CORE void tg_core_max(int8_t *best, const int8_t *x, int32_t count)
{
    for (int32_t i = 0; i < count; i += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(count - i));
        vstrbq_p_s8(best + i, vmaxq_s8(vldrbq_z_s8(best + i, lanes), vldrbq_z_s8(x + i, lanes)), lanes);
    }
}

#endif
