/* Ternary weights in dual-channel words, with which one SMLAD does four multiply-accumulates.
 *
 * A 16-bit lane holds the trits of TWO output channels, a low and a high one, at one position of the window,
 *
 *     lane = (low + 1) + high * 2^14        bit  15 14 13 ... 2 1 0
 *                                                high   0 ... 0 low+1
 *
 * so that one SMLAD, with the int16 activations of two positions, multiplies two positions by two channels.
 * The mask of such a pair of lanes, 0xC003C003, covers a word exactly when it is rotated by 0, 4, 8 and 12
 * bits. So a word holds eight positions k0-k7 of both channels, and the operand of an SMLAD is the AND of the
 * mask with the word rotated right.
 *
 *     turned right by     0        4        8        12
 *     low lane            k0       k1       k4       k5          (the order of the columns: tg_core.h)
 *     high lane           k2       k3       k6       k7
 *
 * The accumulator of a pair of channels starts at minus the sum of the activations, which cancels the + 1:
 *
 *     acc = S0 + S1 * 2^14,    S0 = sum of low * x,    S1 = sum of high * x,    x in [-128, 127]
 *
 * Bounds. |S0| <= 128 * 63 = 8064 < 2^13 if at most 63 of the low channel's trits are not zero; then S0 is
 * the signed value of acc's low 14 bits. |S1| <= 128 * 1023 if at most 1023 of the high channel's are not;
 * then |acc| <= 8064 + 130944 * 2^14 = 2145394560 < 2^31, and (acc - S0) >> 14 is S1. With 64 or 1024
 * nonzeros respectively, all negative, and x = -128 throughout, neither holds. Intermediate sums may wrap,
 * because only their value modulo 2^32 counts.
 *
 * A window is therefore cut into blocks in which the first bound holds; after each block, S0 is taken out of
 * the accumulator and added up separately. Blocks form segments in which the second bound holds; after each
 * segment, S1 is taken out too. The generator knows the weights: it makes the channels with the fewest
 * nonzeros the low ones, and blocks and segments as long as the bounds allow.
 */
#ifndef TG_DUAL_H
#define TG_DUAL_H

#include "tg_core.h"

#define TG_DUAL_K 8     /* positions in a word */
#define TG_DUAL_PAIRS 4 /* pairs of channels side by side that share one pixel; at most TG_TILE */

/* A run of blocks. */
typedef struct {
    int32_t words;              /* greater than zero */
    int32_t block_words;        /* the last block may be shorter */
    const int32_t *corrections; /* [blocks][accumulators]: each is minus the sum of the activations */
} tg_dual_run_t;

/* Each header implements the functions below. The first two start from zero and set of[0][i] = S0 and
 * of[1][i] = S1 of accumulator i over the run, for
 *   tg_dual_pair    one pair of channels at the TG_TILE pixels of columns; trits [words]
 *   tg_dual_pairs   TG_DUAL_PAIRS pairs of channels at one pixel; x int16 [8 * words] in the columns' order,
 *                   trits [words][TG_DUAL_PAIRS]
 * and
 *   tg_dual_minus   sums[i] = minus the sum of column i, over words of eight positions
 */
typedef struct {
    int32_t of[2][TG_TILE]; /* low, high */
} tg_dual_sums_t;

#if defined(TG_DUAL_HEADER)
#include TG_DUAL_HEADER
#elif defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_dual_m55.h"
#elif defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#include "tg_dual_m4.h"
#else
#include "tg_dual_portable.h"
#endif

#endif
