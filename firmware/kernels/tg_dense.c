/* A fully connected layer over one vector, which computes four channels at a time. */
#include "tg_core.h"
#include "tg_output.h"

#include <stdbool.h>
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
#pragma GCC unroll 4
    for (int32_t i = 0; i < QUAD; i++) {
        const int32_t right = -shift[i];
        const int32_t offset = tg_shift_left(rounding, right) >> 1; /* tg_scale_offset */
        sink.out[i] = tg_clamp(tg_core_scale(sums[i], multiplier[i], right, offset), INT8_MIN, INT8_MAX);
    }
    if (sink.accumulators != NULL) {
        (void)memcpy(sink.accumulators, sums, QUAD * sizeof sums[0]);
    }
}

/* Set the sums of up to four channels to their bias. */
static inline void begin(const int32_t *bias, int32_t count, int32_t *sums)
{
    if (count == QUAD) {
        (void)memcpy(sums, bias, QUAD * sizeof sums[0]);
        return;
    }
    for (int32_t i = 0; i < QUAD; i++) {
        sums[i] = (i < count) ? bias[i] : 0;
    }
}

/* A long vector is widened in pieces, between which the sums of all channels wait in the scratch. */
void tg_dense_int8(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_dense(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_requant_t *q = &p->layer.requant;
    const bool is_plain = (q->narrow != 0) && (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX);
    const ptrdiff_t pair = 2 * (ptrdiff_t)((p->depth + 3) & ~3); /* bytes of weights */
    tg_lane_t *vector = scratch;
    for (int32_t start = 0; start < p->depth; start += p->piece) {
        const int32_t left = p->depth - start;
        const tg_lane_t *end = widen(in + start, tg_min(p->piece, left), vector);
        const int8_t *first = p->layer.weights + (2 * (ptrdiff_t)start);
        const int8_t *weights[2] = {first, first + pair};
        int32_t one[QUAD];
        int32_t *sums = (p->piece < p->depth) ? (int32_t *)(void *)(vector + p->piece) : one;
        for (int32_t channel = 0; channel < p->units; channel += QUAD) {
            const int32_t count = tg_min(QUAD, p->units - channel);
            if (count <= 2) { /* there is no second pair */
                weights[1] = weights[0];
            }
            if (start == 0) {
                begin(p->layer.bias + channel, count, sums);
            }
            tg_core_quad(vector, end, weights, sums);
            if (left <= p->piece) {
                const tg_sink_t sink = tg_sink_at((tg_sink_t){out, accumulators}, channel);
                if (is_plain && (count == QUAD)) {
                    scaled(q, channel, sums, sink);
                } else {
                    for (int32_t i = 0; i < count; i++) {
                        tg_output_run(&p->layer, channel + i, sums + i, 1, tg_sink_at(sink, i), 1);
                    }
                }
            }
            weights[0] += 2 * pair;
            weights[1] += 2 * pair;
            sums = (sums == one) ? one : (sums + QUAD);
        }
    }
}
