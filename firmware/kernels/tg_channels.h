/* Depthwise sums of four neighbouring channels at one pixel, for cores without vectors. A table says where each tap reads: the
 * pixel that it covers, or zero points where that lies outside the input.
 *
 * The weights of four channels lie together, taps in pairs; of an odd number of taps the first one stands alone:
 *
 *     byte          0   1   2   3 |  4   5   6   7   8   9  10  11 |    w1c is the weight of tap 1, channel c
 *     weight       w00 w01 w02 w03| w10 w11 w20 w21 w12 w13 w22 w23|    and so on, zeros behind the last channel
 *
 * Each header below implements
 *   tg_channels_run   a pixel's outputs
 * and turns sums into int8 as tg_scale_narrow does. Where a core has 32-bit instructions, int8 itself clamps, and shifts
 * are 1 or more to the right.
 */
#ifndef TG_CHANNELS_H
#define TG_CHANNELS_H

#include "tg_core.h"
#include "tg_output.h"

#include <stdint.h>
#include <string.h>

#define TG_CHANNELS 4

/* Where the taps of a pixel read its first channel. */
typedef struct {
    const int8_t *const *first;
    const int8_t *const *end;
} tg_places_t;

/* The byte of a tap's weight among those of four channels. */
static inline int32_t tg_channels_weight(int32_t taps, int32_t tap, int32_t lane)
{
    const int32_t single = taps & 1;
    const int32_t paired = tap - single;
    if (paired < 0) {
        return lane;
    }
    return (TG_CHANNELS * single) + ((paired / 2) * 2 * TG_CHANNELS) + ((paired & 1) * 2) + ((lane / 2) * 4) +
           (lane & 1);
}

/* The sum of one channel. */
static inline int32_t tg_channels_one(tg_places_t at, const int8_t *weights, int32_t channel, int32_t lane)
{
    const int32_t taps = (int32_t)(at.end - at.first);
    int32_t sum = 0;
    for (int32_t tap = 0; tap < taps; tap++) {
        sum += weights[tg_channels_weight(taps, tap, lane)] * at.first[tap][channel + lane];
    }
    return sum;
}

/* A sum, with its bias, as int8. */
__attribute__((always_inline)) static inline int8_t tg_channels_output(const tg_requant_t *q, int32_t channel, int32_t acc)
{
    const int32_t right = -q->shift[channel];
    const int32_t value =
        tg_core_scale(acc, q->multiplier[channel], right, tg_scale_offset(q->zero_point, right));
    return tg_clamp(value, q->act_min, q->act_max);
}

#if defined(TG_CHANNELS_HEADER)
#include TG_CHANNELS_HEADER
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#include "tg_channels_m0.h"
#elif defined(__ARM_ARCH)
#include "tg_channels_thumb.h"
#else
#include "tg_channels_portable.h"
#endif

#endif
