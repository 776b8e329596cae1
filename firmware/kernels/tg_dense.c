/* A fully connected layer over one vector, which computes four channels at a time. */
#include "tg_core.h"
#include "tg_output.h"

#include <string.h>

#define QUAD 4

/* Widen the vector to int16, with zeros up to a whole group of positions. The last positions are placed one
 * by one. Returns the end. */
__attribute__((noinline)) static const tg_lane_t *widen(const int8_t *in, int32_t depth, tg_lane_t *vector)
{
    const int32_t whole = depth & ~3;
    tg_lane_t *group = vector + whole;
    tg_core_vector(in, whole / 4, vector);
    if (whole == depth) {
        return group;
    }
    for (int32_t i = 0; i < 4; i++) {
        group[((i & 1) << 1) | (i >> 1)] = (tg_lane_t)(((whole + i) < depth) ? in[whole + i] : 0);
    }
    return group + 4;
}

/* Turn four sums into int8 where only a scale per channel is needed: tg_scale_narrow, clamped to the range of
 * int8. */
static inline void scaled(const tg_requant_t *q, int32_t channel, const int32_t *sums, tg_sink_t sink)
{
    const int32_t *multiplier = q->multiplier + channel;
    const int8_t *shift = q->shift + channel;
    const int32_t rounding = (2 * q->zero_point) + 1;
    for (int32_t i = 0; i < QUAD; i++) {
        const int32_t right = -shift[i];
        const int32_t offset = tg_shift_left(rounding, right) >> 1; /* tg_scale_offset */
        sink.out[i] = tg_clamp(tg_core_scale(sums[i], multiplier[i], right, offset), INT8_MIN, INT8_MAX);
    }
    if (sink.accumulators != NULL) {
        (void)memcpy(sink.accumulators, sums, QUAD * sizeof sums[0]);
    }
}

void tg_dense_int8(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const tg_requant_t *q = &p->layer.requant;
    const bool plain = (q->narrow != 0) && (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX);
    tg_lane_t *vector = scratch;
    const tg_lane_t *end = widen(in, p->depth, vector);
    const ptrdiff_t pair = 2 * (end - vector); /* bytes of weights */
    const int8_t *weights[2] = {p->layer.weights, p->layer.weights + pair};
    const int32_t *bias = p->layer.bias;
    for (int32_t channel = 0; channel < p->units; channel += QUAD) {
        const int32_t count = tg_min(QUAD, p->units - channel);
        const tg_sink_t sink = tg_sink_at((tg_sink_t){out, accumulators}, channel);
        int32_t sums[QUAD] = {0};
        if (count == QUAD) {
            (void)memcpy(sums, bias + channel, sizeof sums);
        } else {
            for (int32_t i = 0; i < count; i++) {
                sums[i] = bias[channel + i];
            }
            if (count <= 2) { /* there is no second pair */
                weights[1] = weights[0];
            }
        }
        tg_core_quad(vector, end, weights, sums);
        if (plain && (count == QUAD)) {
            scaled(q, channel, sums, sink);
        } else {
            for (int32_t i = 0; i < count; i++) {
                tg_output_run(&p->layer, channel + i, sums + i, 1, tg_sink_at(sink, i), 1);
            }
        }
        weights[0] += 2 * pair;
        weights[1] += 2 * pair;
    }
}
