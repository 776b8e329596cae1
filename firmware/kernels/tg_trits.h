/* Turns a sum of trits times activations into its int8 output. */
#ifndef TG_TRITS_H
#define TG_TRITS_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"
#include "tg_output.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether a layer is narrow, clamped only to int8 and without logits, as most are. */
static inline bool tg_trits_are_plain(const tg_trit_scale_t *scale, tg_sink_t to)
{
    return (scale->narrow != 0) && (scale->act_min == INT8_MIN) && (scale->act_max == INT8_MAX) &&
           (to.accumulators == NULL);
}

/* What one channel of a narrow layer needs, in registers. A core rescales twice the sum
 * (tg_core_scale_twice), so the magnitude and the bias are doubled beforehand. Narrow means |2 * acc| < 2^31;
 * intermediate products may wrap. */
typedef struct {
    uint32_t magnitude, bias;
    int32_t multiplier, right, offset;
} tg_trit_narrow_t;

static inline tg_trit_narrow_t tg_trits_narrow(const tg_trit_channel_t *channel, int32_t zero_point)
{
    const int32_t right = -channel->shift;
    uint32_t magnitude = 2u * channel->magnitude;
    uint32_t bias = 2u * (uint32_t)channel->bias;
    __asm("" : "+r"(magnitude), "+r"(bias)); /* else the compiler doubles each sum instead */
    return (tg_trit_narrow_t){magnitude, bias, channel->multiplier, right,
                              tg_scale_offset(zero_point, right)};
}

/* The output for one sum of a plain layer. */
static inline int8_t tg_trits_plain(tg_trit_narrow_t channel, int32_t sum)
{
    const int32_t twice = (int32_t)(((uint32_t)sum * channel.magnitude) + channel.bias);
    return tg_saturate(tg_core_scale_twice(twice, channel.multiplier, channel.right, channel.offset));
}

/* Store the output for one sum of any layer. */
static inline void tg_trits_any(const tg_trit_scale_t *scale, const tg_trit_channel_t *channel, int32_t sum,
                                tg_sink_t to)
{
    const int32_t right = -channel->shift;
    const int32_t acc = tg_add_wrap(sum * channel->magnitude, channel->bias);
    const int32_t value =
        (scale->narrow != 0)
            ? tg_core_scale(acc, channel->multiplier, right, tg_scale_offset(scale->zero_point, right))
            : tg_add_wrap(tg_multiply(acc, channel->multiplier, channel->shift), scale->zero_point);
    to.out[channel->channel] = tg_clamp(value, scale->act_min, scale->act_max);
    if (to.accumulators != NULL) {
        to.accumulators[channel->channel] = acc;
    }
}

#endif
