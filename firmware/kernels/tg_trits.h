/* From a sum of trits times activations to its int8 output. */
#ifndef TG_TRITS_H
#define TG_TRITS_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"
#include "tg_output.h"

#include <stdbool.h>
#include <stddef.h>

static inline int8_t tg_saturate(int32_t value)
{
#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
    int32_t saturated;
    __asm("ssat %0, #8, %1" : "=r"(saturated) : "r"(value));
    return (int8_t)saturated;
#else
    return tg_clamp(value, INT8_MIN, INT8_MAX);
#endif
}

/* Most layers: narrow, clamped where int8 ends, and no logits. */
static inline bool tg_trits_are_plain(const tg_trit_scale_t *scale, tg_sink_t to)
{
    return (scale->narrow != 0) && (scale->act_min == INT8_MIN) && (scale->act_max == INT8_MAX) &&
           (to.accumulators == NULL);
}

/* What one channel of a narrow layer needs, in registers. Where tg_core_scale would double the sum first, the
 * magnitude and the bias are doubled instead; |2 * acc| < 2^31 is what narrow means, products in between may
 * wrap. */
typedef struct {
    uint32_t magnitude, bias;
    int32_t multiplier, right, offset;
} tg_trit_narrow_t;

#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
#define TG_TRITS_TIMES 2u

/* offset + round(a * b / 2^32), halves up */
static inline int32_t tg_trits_scale(int32_t a, int32_t b, int32_t offset)
{
    __asm("smmlar %0, %1, %2, %0" : "+r"(offset) : "r"(a), "r"(b));
    return offset;
}
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define TG_TRITS_TIMES 2u

/* The same from products of halves, for cores without a long multiplication: b in [0, 2^31). No sum
 * overflows: |a_high * b_low| + 2^16 <= 2^31 and a_low * b_high + 2^16 + 2^15 < 2^31 + 2^16, which is
 * unsigned. */
static inline int32_t tg_trits_scale(int32_t a, int32_t b, int32_t offset)
{
    const uint32_t a_low = (uint32_t)a & 0xFFFFu;
    const uint32_t b_low = (uint32_t)b & 0xFFFFu;
    const int32_t a_high = a >> 16;
    const int32_t b_high = b >> 16;
    const int32_t middle = (a_high * (int32_t)b_low) + (int32_t)((a_low * b_low) >> 16);
    const uint32_t other = (a_low * (uint32_t)b_high) + ((uint32_t)middle & 0xFFFFu) + 0x8000u;
    return offset + (a_high * b_high) + (middle >> 16) + (int32_t)(other >> 16);
}
#else
#define TG_TRITS_TIMES 1u
#endif

static inline tg_trit_narrow_t tg_trits_narrow(const tg_trit_channel_t *channel, int32_t zero_point)
{
    const int32_t right = -channel->shift;
    uint32_t magnitude = TG_TRITS_TIMES * channel->magnitude;
    uint32_t bias = TG_TRITS_TIMES * (uint32_t)channel->bias;
#if TG_TRITS_TIMES == 2u
    __asm("" : "+r"(magnitude), "+r"(bias)); /* or the compiler doubles each sum instead */
#endif
    return (tg_trit_narrow_t){magnitude, bias, channel->multiplier, right,
                              tg_scale_offset(zero_point, right)};
}

/* One sum of a plain layer. */
static inline int8_t tg_trits_plain(tg_trit_narrow_t channel, int32_t sum)
{
    const int32_t acc = (int32_t)(((uint32_t)sum * channel.magnitude) + channel.bias);
#if TG_TRITS_TIMES == 2u
    const int32_t value = tg_trits_scale(acc, channel.multiplier, channel.offset + (acc >> 31));
    return tg_saturate(value >> channel.right);
#else
    return tg_saturate(tg_core_scale(acc, channel.multiplier, channel.right, channel.offset));
#endif
}

/* One sum of any layer. */
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
