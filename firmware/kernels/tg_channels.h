/* Depthwise sums of four neighbouring channels at one pixel, for cores without vectors. A table says where each tap reads: the
 * pixel that it covers, or zero points where that lies outside the input.
 *
 * The weights of four channels lie together, taps in pairs; of an odd number of taps the first one stands alone:
 *
 *     byte          0   1   2   3 |  4   5   6   7   8   9  10  11 |    w1c is the weight of tap 1, channel c
 *     weight       w00 w01 w02 w03| w10 w11 w20 w21 w12 w13 w22 w23|    and so on, zeros behind the last channel
 *
 * Each header below implements
 *   tg_channels_whole   a pixel's outputs of `whole` channels, a multiple of four greater than zero
 * and turns sums into int8 as tg_scale_narrow does. Where a core has 32-bit instructions, int8 itself clamps, and shifts
 * are 1 or more to the right.
 */
#ifndef TG_CHANNELS_H
#define TG_CHANNELS_H

#include "tg_core.h"

#include <stdint.h>

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

/* The channels from `channel` on, a multiple of four, up to before `end`, one by one. */
__attribute__((cold, noinline, unused)) static void
tg_channels_some(const tg_weighted_t *layer, int32_t channel, int32_t end, tg_places_t at, int8_t *out)
{
    const tg_requant_t *q = &layer->requant;
    const int32_t taps = (int32_t)(at.end - at.first);
    for (; channel < end; channel++) {
        const int32_t lane = channel % TG_CHANNELS;
        const int8_t *weights = layer->weights + (taps * (channel - lane));
        int32_t sum = layer->bias[channel];
        for (int32_t tap = 0; tap < taps; tap++) {
            sum += weights[tg_channels_weight(taps, tap, lane)] * at.first[tap][channel];
        }
        const int32_t right = -q->shift[channel];
        const int32_t offset = tg_scale_offset(q->zero_point, right);
        out[channel] =
            tg_clamp(tg_core_scale(sum, q->multiplier[channel], right, offset), q->act_min, q->act_max);
    }
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
