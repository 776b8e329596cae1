/* Sums over lists of taps: ternary weights become additions and subtractions for sixteen outputs at once.
 *
 * The input of a channel is laid out as a plane, row after row with its padding, so that the tap at (ky, kx)
 * of the window reads, for all outputs, the plane shifted by one constant offset:
 *
 *     plane        . . . . . .        pitch: the input's width and its padding,
 *                  . a b c d e        which the right end of a row and the left
 *                  . f g h i j        end of the next share
 *                  . . . . . . .      output (oy, ox) is position oy * pitch + ox
 *
 *     tap (ky, kx) of position p is plane[p + ky * pitch + kx]
 *
 * Positions between the end of one output row and the start of the next hold values that are never read. A
 * stride of s splits the plane into s * s phases, one for each remainder of row and column; every tap lies in
 * one of them.
 *
 * Sums fit 16 bits: |sum| <= 128 * 255 < 2^15 for at most 255 nonzero taps.
 *
 * Each header below implements
 *   tg_taps_sum     sums[i] = sum of plane[i + offset] over the taps of +1 minus that over the taps of -1,
 * for i below count rounded up to TG_TAPS_TILE; plane and sums are that long
 */
#ifndef TG_TAPS_H
#define TG_TAPS_H

#include <stdint.h>

#define TG_TAPS_TILE 16

/* The nonzero taps of one output channel. */
typedef struct {
    const uint16_t *minus, *plus;
    int32_t minus_count, plus_count;
} tg_taps_t;

/* Taps as lists in flash. A list holds the steps from one tap's offset to the next, in units of `unit` bytes;
 * the first tap of -1 and the first of +1 count from the start of the planes. The steps of +1 follow those of
 * -1. See tg_lists.h. */
typedef struct {
    const uint8_t *list;
    int32_t minus, plus;
    int32_t unit;
} tg_steps_t;

#if defined(TG_TAPS_HEADER)
#include TG_TAPS_HEADER
#elif defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_taps_m55.h"
#elif defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#include "tg_taps_m4.h"
#else
#include "tg_taps_portable.h"
#endif

#endif
