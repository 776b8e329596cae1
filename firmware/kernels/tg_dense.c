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

/* Set the sums of up to four channels to their bias. */
static inline void begin(const tg_dense_t *p, int32_t channel, int32_t count, int32_t *sums)
{
    const int32_t *bias = p->layer.bias + channel;
    if (count == QUAD) {
        (void)memcpy(sums, bias, QUAD * sizeof sums[0]);
        return;
    }
    for (int32_t i = 0; i < QUAD; i++) {
        sums[i] = (i < count) ? bias[i] : 0;
    }
}

/* Add the products of a part of the vector, which starts at a position, to the sums of up to four channels. */
static inline void add(const tg_dense_t *p, int32_t channel, int32_t count, int32_t start,
                       const tg_lane_t *vector, const tg_lane_t *end, int32_t *sums)
{
    const ptrdiff_t pair = 2 * (ptrdiff_t)((p->depth + 3) & ~3); /* bytes of weights */
    const int8_t *first = p->layer.weights + ((channel / 2) * pair) + (2 * (ptrdiff_t)start);
    const int8_t *weights[2] = {first, (count > 2) ? (first + pair) : first};
    tg_core_quad(vector, end, weights, sums);
}

static inline void finish(const tg_dense_t *p, int32_t channel, int32_t count, const int32_t *sums,
                          tg_sink_t sink)
{
    const tg_requant_t *q = &p->layer.requant;
    if ((count == QUAD) && (q->narrow != 0) && (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX)) {
        scaled(q, channel, sums, sink);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        tg_output_run(&p->layer, channel + i, sums + i, 1, tg_sink_at(sink, i), 1);
    }
}

/* A long vector is widened in pieces, between which the sums of all channels wait in the scratch. */
static void in_pieces(const tg_dense_t *p, const int8_t *in, tg_sink_t all, void *scratch)
{
    tg_lane_t *vector = scratch;
    int32_t *sums = (int32_t *)(void *)(vector + p->piece);
    for (int32_t channel = 0; channel < p->units; channel += QUAD) {
        begin(p, channel, tg_min(QUAD, p->units - channel), sums + channel);
    }
    for (int32_t start = 0; start < p->depth; start += p->piece) {
        const tg_lane_t *end = widen(in + start, tg_min(p->piece, p->depth - start), vector);
        for (int32_t channel = 0; channel < p->units; channel += QUAD) {
            add(p, channel, p->units - channel, start, vector, end, sums + channel);
        }
    }
    for (int32_t channel = 0; channel < p->units; channel += QUAD) {
        const int32_t count = tg_min(QUAD, p->units - channel);
        finish(p, channel, count, sums + channel, tg_sink_at(all, channel));
    }
}

void tg_dense_int8(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch)
{
    const tg_sink_t all = {out, accumulators};
    if (p->piece < p->depth) {
        in_pieces(p, in, all, scratch);
        return;
    }
    tg_lane_t *vector = scratch;
    const tg_lane_t *end = widen(in, p->depth, vector);
    for (int32_t channel = 0; channel < p->units; channel += QUAD) {
        const int32_t count = tg_min(QUAD, p->units - channel);
        int32_t sums[QUAD];
        begin(p, channel, count, sums);
        add(p, channel, count, 0, vector, end, sums);
        finish(p, channel, count, sums, tg_sink_at(all, channel));
    }
}
