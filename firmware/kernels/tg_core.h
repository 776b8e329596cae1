/* One interface to the arithmetic of the core for which the code is compiled.
 *
 * Convolutions run over tiles of TG_TILE output pixels. The inputs of a tile are gathered into columns of
 * int16, with two positions of the window in a word and the tile's pixels side by side, so that a core loads
 * exactly what it multiplies:
 *
 *     word             0         1     ... TG_TILE - 1 |  TG_TILE ...
 *     low half      x0(px 0)  x0(px 1)                 |   x1(px 0)
 *     high half     x2(px 0)  x2(px 1)                 |   x3(px 0)
 *
 * Four neighbouring positions k = 0 1 2 3 are stored in the order 0 2 1 3, in which two SXTB16 extract them
 * from a word of bytes. Weights are interleaved to match, with two output channels a and b for each word of
 * columns:
 *
 *     byte          0   1   2   3   4   5   6   7
 *     weight        a0  b0  a2  b2  a1  b1  a3  b3     and so on, zeros up to a multiple of four positions
 *
 * Depthwise convolutions instead run over planes, one channel at a time (tg_planes.h).
 */
#ifndef TG_CORE_H
#define TG_CORE_H

#include "tg_kernels.h"

#include <stdbool.h>
#include <stdint.h>

#ifndef TG_TILE
#define TG_TILE 4
#endif

/* The number of elements that element-wise kernels process at once. */
#ifndef TG_LANES
#define TG_LANES 1
#endif

#define TG_CORE __attribute__((unused)) static

/* This type may alias others because the arena is declared as bytes. */
typedef int16_t __attribute__((may_alias)) tg_lane_t;

/* The number of neighbouring outputs that depthwise convolutions compute together. */
#define TG_FOUR 4

/* A depthwise convolution of one channel over its plane (tg_planes.h). Lengths are in lanes; pitch is even. M4 loads the
 * fields up to `skipped` in their order, and sets those marked so itself (tg_core_m4_plane.h). */
typedef struct {
    const tg_lane_t *x;
    const uint32_t *records_end;       /* M4; NULL before a layer's first channel */
    int32_t count;                     /* outputs per row */
    int8_t *out;                       /* M4 */
    int32_t step;                      /* of out */
    int32_t bias;                      /* M4 */
    tg_lane_t *taps;                   /* scratch for the weights in a core's own form */
    int32_t multiplier, right, offset; /* M4 */
    int32_t rows;                      /* the number of output rows */
    int32_t row_step;                  /* of out */
    int32_t row_bytes;                 /* M4; from the inputs of one output row to those of the next */
    int32_t skipped;                   /* M4 */
    const int8_t *weights;             /* [height][width] */
    int32_t pitch;                     /* from one row of x to the next */
    int32_t height, width;             /* of the kernel */
    int32_t dilation, gap; /* from one row of the kernel to the next, and from one column to the next */
    int32_t stride, row_stride;
    int32_t back, again; /* M4 */
} tg_plane_t;

/* Fill columns of 4 * words positions from one run of bytes per pixel; returns where the next columns go.
 * words > 0. */
TG_CORE tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE], int32_t words, tg_lane_t *columns);

/* sums[channel * TG_TILE + pixel] += weights . columns for two channels, over groups of four positions. */
TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums);

/* Compute the outputs of a tile's first pixels and channels in one pass, if the core has a fast way that fits
 * the layer. Returns the number of channels done, which is often 0. */
TG_CORE int32_t tg_core_tile(const tg_weighted_t *layer, int32_t channels, const tg_lane_t *columns,
                             int32_t groups, int32_t pixels, int8_t *out);

/* Widen one vector to int16, in the order of the weights' positions. */
TG_CORE void tg_core_vector(const int8_t *from, int32_t words, tg_lane_t *to);

/* sums[channel] += weights . vector, for the four channels of two pairs; end > vector. */
TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end, const int8_t *const weights[2],
                          int32_t *sums);

/* to[c * plane + i] = from[i * step + c], for up to four channels. */
TG_CORE void tg_core_split(const int8_t *from, int32_t step, int32_t count, int32_t channels, tg_lane_t *to,
                           int32_t plane);

/* sums[i] = bias + the sum of output i, for TG_FOUR neighbours of which the first reads from x on. */
TG_CORE void tg_core_four(const tg_plane_t *plane, const tg_lane_t *x, int32_t bias, int32_t *sums);

/* Copy bytes; the compiler makes no call of it. */
TG_CORE void tg_core_copy(int8_t *to, const int8_t *from, int32_t count);

/* best[i] = the greater of best[i] and x[i]. */
TG_CORE void tg_core_max(int8_t *best, const int8_t *x, int32_t count);

/* sums[c] += from[i * step + c] for i < count and up to four channels; sums always has four elements. */
TG_CORE void tg_core_sum(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *sums);

/* Does what tg_scale_narrow of tg_fixed.h does. */
TG_CORE int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset);

/* Does the same for acc = twice / 2, because cores multiply the doubled value. */
TG_CORE int32_t tg_core_scale_twice(int32_t twice, int32_t multiplier, int32_t right, int32_t offset);

#define TG_ADD_HEADROOM 20

/* How sums are rescaled: twice a sum is table[the bits of b as uint8] + (a << TG_ADD_HEADROOM), for tg_core_scale_twice. */
typedef struct {
    const int32_t *table;
    int32_t multiplier, right, offset;
} tg_core_add_t;

/* out[i] = a[i] + b[i], rescaled and saturated, for the first of `count` elements; returns for how many of them. Only
 * cores that do several at once have it (TG_CORE_HAS_ADD). Those are read before they are written, so that the output
 * may start where an input does, or before it. */

#if defined(TG_CORE_HEADER)
#include TG_CORE_HEADER
#elif defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_core_m55.h"
#elif defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#include "tg_core_m4.h"
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#include "tg_core_m0.h"
#elif defined(__ARM_ARCH_7M__)
#include "tg_core_m3.h"
#else
#include "tg_core_portable.h"
#endif

#endif
