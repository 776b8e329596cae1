/* Sparse lists for cores without SIMD instructions: ternary weights as additions and subtractions that serve
 * two pixels at once.
 *
 * Activations are stored in planes, one per channel, as tg_taps.h draws them, but a position is a 16-bit
 * lane. The output positions of a band of rows are split into two halves. A word holds the activation that
 * position i reads in its low lane and the one that position i + half reads in its high lane, both with 128
 * added so that neither is negative:
 *
 *     word i     | x(i + half) + 128 | x(i) + 128 |
 *
 * One 32-bit addition then serves two outputs of the same channel. Taps are sorted word offsets. The lists
 * hold the steps from one to the next as bytes, in a unit that divides all offsets of the layer: first those
 * of the taps of -1, then, from the start of the planes again, those of the taps of +1. A gap of more than
 * 255 units is crossed by a stop that both lists visit, so that it is added and subtracted once.
 *
 *     channel      runs | minus plus steps... | minus plus steps... |
 *
 * Bounds. A run has at most 128 steps of each kind, so a lane's sum lies within 255 * 128 = 32640 < 2^15 of
 * zero, and the word is low + high * 2^16 with both of them signed; low is the word's low half, signed. The
 * 128 added to every activation changes a sum by 128 * (plus - minus), which the bias takes into account.
 *
 * Each header below implements
 *   tg_lists_run    sums[i], i < 4, of the four words from `words` on, over one run
 */
#ifndef TG_LISTS_H
#define TG_LISTS_H

#include <stdint.h>

#define TG_LISTS_TILE 4 /* words of two positions each */

typedef struct {
    const uint8_t *steps;
    int32_t minus, plus;
    int32_t unit; /* the bytes that a step of 1 crosses */
} tg_lists_run_t;

#if defined(__arm__) && defined(__thumb__)
#include "tg_lists_thumb.h"
#else
#include "tg_lists_portable.h"
#endif

#endif
