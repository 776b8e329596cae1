#include "tg_output.h"

void tg_output_run(const tg_weighted_t *layer, int32_t channel, const int32_t *acc, int32_t count,
                   tg_sink_t sink, int32_t stride)
{
    const tg_requant_t *q = &layer->requant;
    const int32_t multiplier = q->multiplier[channel];
    const int32_t shift = q->shift[channel];
    if (q->narrow != 0) {
        const int32_t offset = tg_scale_offset(q->zero_point, -shift);
        const int32_t low = q->act_min; /* the compiler must assume that int8 stores may change q */
        const int32_t high = q->act_max;
        int8_t *to = sink.out;
        for (int32_t i = 0; i < count; i++) {
            *to = tg_clamp(tg_core_scale(acc[i], multiplier, -shift, offset), low, high);
            to += stride;
        }
    } else {
        for (int32_t i = 0; i < count; i++) {
            sink.out[i * stride] = tg_requantised(q, acc[i], multiplier, shift);
        }
    }
    if (sink.accumulators != NULL) {
        for (int32_t i = 0; i < count; i++) {
            sink.accumulators[i * stride] = acc[i];
        }
    }
}
