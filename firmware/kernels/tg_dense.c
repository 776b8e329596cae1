/* Fully connected layer over one vector, four channels at a time. */
#include "tg_core.h"
#include "tg_output.h"

#include <string.h>

#define QUAD 4

/* The vector as int16, zeros up to a whole group of positions. */
static const tg_lane_t *widen(const int8_t *in, int32_t depth, tg_lane_t *vector)
{
    const int32_t whole = depth & ~3;
    int8_t rest[4] = {0};
    tg_core_vector(in, whole / 4, vector);
    if (whole == depth) {
        return vector + whole;
    }
    for (int32_t i = whole; i < depth; i++) {
        rest[i - whole] = in[i];
    }
    tg_core_vector(rest, 1, vector + whole);
    return vector + whole + 4;
}

/* Sums to int8 where nothing but the scale of a channel is left to do: tg_scale_narrow, clamped where int8
 * ends. */
static void scaled(const tg_requant_t *q, int32_t channel, int32_t count, const int32_t *sums, int8_t *out)
{
    const int32_t *multiplier = q->multiplier + channel;
    const int8_t *shift = q->shift + channel;
    const int32_t zero_point = q->zero_point;
    for (int32_t i = 0; i < count; i++) {
        const int32_t right = -shift[i];
        const int32_t value =
            tg_core_scale(sums[i], multiplier[i], right, tg_scale_offset(zero_point, right));
        out[channel + i] = tg_clamp(value, INT8_MIN, INT8_MAX);
    }
}

void tg_dense_int8(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const tg_requant_t *q = &p->layer.requant;
    const bool plain = (q->narrow != 0) && (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX);
    const tg_sink_t sink = {out, accumulators};
    tg_lane_t *vector = scratch;
    const tg_lane_t *end = widen(in, p->depth, vector);
    const ptrdiff_t pair = 2 * (end - vector); /* bytes of weights */
    const int8_t *weights = p->layer.weights;
    for (int32_t channel = 0; channel < p->units; channel += QUAD) {
        const int32_t count = tg_min(QUAD, p->units - channel);
        const int8_t *const both[2] = {weights, (count > 2) ? (weights + pair) : weights};
        const int32_t *bias = p->layer.bias + channel;
        int32_t sums[QUAD] = {0};
        if (count == QUAD) {
            (void)memcpy(sums, bias, sizeof sums);
        } else {
            for (int32_t i = 0; i < count; i++) {
                sums[i] = bias[i];
            }
        }
        tg_core_quad(vector, end, both, sums);
        if (!plain || (accumulators != NULL)) {
            for (int32_t i = 0; i < count; i++) {
                tg_output_run(&p->layer, channel + i, sums + i, 1, tg_sink_at(sink, channel + i), 1);
            }
        } else {
            scaled(q, channel, count, sums, out);
        }
        weights += 2 * pair;
    }
}
