/* The arithmetic of the core that is compiled for, behind one interface.
 *
 * Convolutions run over tiles: TG_TILE output pixels at once. What a tile reads is gathered into columns of
 * int16, two positions of the window to a word and the tile's pixels side by side, so that a core loads what
 * it multiplies:
 *
 *     word             0         1     ... TG_TILE - 1 |  TG_TILE ...
 *     low half      x0(px 0)  x0(px 1)                 |   x1(px 0)
 *     high half     x2(px 0)  x2(px 1)                 |   x3(px 0)
 *
 * Four neighbouring positions k = 0 1 2 3 are taken in the order 0 2 1 3 (what one SXTB16 takes out of a word
 * of bytes, then the other). Weights are interleaved to match, two output channels a b for one word of
 * columns:
 *
 *     byte          0   1   2   3   4   5   6   7
 *     weight        a0  b0  a2  b2  a1  b1  a3  b3     and so on, zeros up to a multiple of four positions
 *
 * Each header below implements:
 *   tg_core_expand      tg_lane_t *(const int8_t *const source[TG_TILE], int32_t words, tg_lane_t *columns)
 *                       columns of 4 * words positions from one run of bytes a pixel; returns what lies
 * behind them tg_core_pair        void (const tg_lane_t *columns, const int8_t *weights, int32_t groups,
 * int32_t *sums) sums[channel * TG_TILE + pixel] += weights . columns, over groups of four positions
 *   tg_core_scale       int32_t (int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
 *                       tg_scale_narrow of tg_fixed.h
 */
#ifndef TG_CORE_H
#define TG_CORE_H

#include <stdint.h>

#ifndef TG_TILE
#define TG_TILE 4
#endif

/* Elements that element-wise kernels take at once. */
#ifndef TG_LANES
#define TG_LANES 1
#endif

/* The arena is declared as bytes. */
typedef int16_t __attribute__((may_alias)) tg_lane_t;

#if defined(TG_CORE_HEADER)
#include TG_CORE_HEADER
#elif defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#include "tg_core_m4.h"
#else
#include "tg_core_portable.h"
#endif

#endif
