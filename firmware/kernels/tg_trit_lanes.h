/* Trits that cores with vectors of bytes turn into int8 weights in registers, and multiply as they do int8 layers
 * (tg_lanes.h).
 *
 * A channel's trits lie in blocks of 64 positions, sixteen bytes each; those of the rest lie in words of 16. A byte has
 * four trits of two bits, signed, which lie a quarter of the block or the word apart:
 *
 *     bits               7 6    5 4    3 2   1 0
 *     block           48 + i 32 + i 16 + i     i    in byte i, 0 <= i < 16
 *     word            12 + i  8 + i  4 + i     i    in byte i, 0 <= i < 4
 *
 * Shifted left until a trit is on top, and without what is below it, a byte is 64 times the trit. So a block becomes
 * four vectors in six instructions, the lowest trits needing no mask and the highest no shift; a word becomes one, its
 * four copies shifted by 6, 4, 2 and 0 bits. Sums are 64 times too large, and are exact as
 *
 *     64 * 2 * 128 * positions < 2^31    for positions < 2^17,
 *
 * where the 2 is for a flipped bit: the code 2, which no trit has, is -2.
 *
 * Each header below implements
 *   tg_trit_lanes_tile   the channels of a tile's first pixels; windows [TG_TILE][positions]
 * and turns sums into int8 as tg_scale_narrow does.
 */
#ifndef TG_TRIT_LANES_H
#define TG_TRIT_LANES_H

#include "tg_kernels.h"

#if defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_trit_lanes_m55.h"
#else
#include "tg_trit_lanes_portable.h"
#endif

#endif
