/* Turns a convolution's sum into its int8 output. */
#ifndef TG_OUTPUT_H
#define TG_OUTPUT_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>

/* Where a kernel writes. accumulators is NULL except in the layer that gives the logits. */
typedef struct {
    int8_t *out;
    int32_t *accumulators;
} tg_sink_t;

static inline tg_sink_t tg_sink_at(tg_sink_t sink, int32_t element)
{
    sink.out += element;
    sink.accumulators = (sink.accumulators == NULL) ? NULL : (sink.accumulators + element);
    return sink;
}

/* Clamp to the range of int8. */
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

/* magnitude is NULL for int8 weights, else one factor per channel by which the sum of trits is multiplied. */
static inline void tg_output(const tg_weighted_t *layer, const uint8_t *magnitude, int32_t channel,
                             int32_t sum, tg_sink_t sink, int32_t element)
{
    const tg_requant_t *q = &layer->requant;
    const int32_t weighted = (magnitude != NULL) ? (sum * magnitude[channel]) : sum;
    const int32_t acc = tg_add_wrap(weighted, layer->bias[channel]);
    const int32_t scaled = tg_multiply(acc, q->multiplier[channel], q->shift[channel]);
    if (sink.accumulators != NULL) {
        sink.accumulators[element] = acc;
    }
    sink.out[element] = tg_clamp(tg_add_wrap(scaled, q->zero_point), q->act_min, q->act_max);
}

static inline int8_t tg_requantised(const tg_requant_t *q, int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t value = (q->narrow != 0)
                              ? tg_core_scale(acc, multiplier, -shift, tg_scale_offset(q->zero_point, -shift))
                              : tg_add_wrap(tg_multiply(acc, multiplier, shift), q->zero_point);
    return tg_clamp(value, q->act_min, q->act_max);
}

/* Turn count accumulators of one channel, bias included, into outputs that are `stride` elements apart. */
void tg_output_run(const tg_weighted_t *layer, int32_t channel, const int32_t *acc, int32_t count,
                   tg_sink_t sink, int32_t stride);

/* The same for a tile: acc has TG_TILE elements, of which the first count become outputs. */
static inline void tg_output_tile(const tg_weighted_t *layer, int32_t channel, const int32_t *acc,
                                  int32_t count, tg_sink_t sink, int32_t stride)
{
    if (TG_LANES == 1) {
        tg_output_run(layer, channel, acc, count, sink, stride);
    } else { /* computes the whole tile into a local array first, so that the loop can be vectorized */
        const int32_t multiplier = layer->requant.multiplier[channel];
        const int32_t shift = layer->requant.shift[channel];
        const tg_requant_t q = layer->requant;
        int8_t values[TG_TILE];
        for (int32_t i = 0; i < TG_TILE; i++) {
            values[i] = tg_requantised(&q, acc[i], multiplier, shift);
        }
        for (int32_t i = 0; i < count; i++) {
            sink.out[i * stride] = values[i];
            if (sink.accumulators != NULL) {
                sink.accumulators[i * stride] = acc[i];
            }
        }
    }
}

#endif
