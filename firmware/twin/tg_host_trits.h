/* What ternary layers of the host share: their packed trits are turned into int8 weights, which then take the way of the layers
 * that have such weights.
 *
 * Weights may have faults. What a layer computes is then what its device does only while no sum overflows its bounds there,
 * so a layer whose weights could do that, or are no weights of a window, is left to the device's kernel.
 */
#ifndef TG_HOST_TRITS_H
#define TG_HOST_TRITS_H

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O1") /* compiling takes longer than all that is unpacked */
#endif

#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_wide.h"

#include <stdlib.h>

#define TG_NONZEROS 255        /* whose sums fit 16 bits (tg_taps.h) */
#define TG_SUM_LIMIT (1 << 30) /* of a narrow layer's sums (tg_fixed.h) */

/* A layer with int8 weights. */
typedef struct {
    tg_weighted_t layer;
    int32_t channels;
    int32_t positions, row; /* of a channel; a row's bytes may be more */
    int32_t *bias, *multiplier;
    int8_t *shift, *weights;
    uint8_t *magnitude;
    bool usable;
} tg_ternary_t;

/* Memory for a layer, not yet written where *fresh. There is one row more than channels, for lanes without a channel. */
static inline tg_ternary_t *tg_ternary_layer(const void *packed, const void *channels, const tg_window_t *w,
                                             int32_t positions, int32_t row, bool *fresh)
{
    const twin_key_t key = {{packed, channels, NULL}};
    const size_t count = (size_t)w->out_c;
    const size_t bytes = (count * ((2 * sizeof(int32_t)) + 2)) + ((count + 1) * (size_t)row);
    tg_ternary_t *t = twin_kept(key, sizeof *t + bytes, fresh);
    if (*fresh) {
        int32_t *numbers = (int32_t *)(void *)(t + 1);
        int8_t *behind = (int8_t *)(numbers + (2 * count));
        *t = (tg_ternary_t){.channels = w->out_c,
                            .positions = positions,
                            .row = row,
                            .bias = numbers,
                            .multiplier = numbers + count,
                            .shift = behind,
                            .magnitude = (uint8_t *)behind + count,
                            .weights = behind + (2 * count),
                            .usable = true};
    }
    return t;
}

static inline int8_t *tg_ternary_row(tg_ternary_t *t, int32_t channel)
{
    return t->weights + ((ptrdiff_t)((channel < 0) ? t->channels : channel) * t->row);
}

static inline void tg_ternary_channel(tg_ternary_t *t, const tg_trit_channel_t *from)
{
    if (from->channel >= 0) {
        t->bias[from->channel] = from->bias;
        t->multiplier[from->channel] = from->multiplier;
        t->magnitude[from->channel] = from->magnitude;
        t->shift[from->channel] = from->shift;
    }
}

static inline void tg_ternary_channels(tg_ternary_t *t, const tg_trit_channel_t *from, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        tg_ternary_channel(t, from + i);
    }
}

static inline void tg_ternary_weighted(tg_ternary_t *t, const tg_weighted_t *from)
{
    for (int32_t c = 0; c < t->channels; c++) {
        const tg_trit_channel_t channel = {from->bias[c], from->requant.multiplier[c], (int16_t)c,
                                           from->magnitude[c], from->requant.shift[c]};
        tg_ternary_channel(t, &channel);
    }
}

/* Give all trits their magnitude. What the sum of a channel's trits is multiplied by goes into its bias. */
static inline void tg_ternary_finish(tg_ternary_t *t, int32_t in_zero_point, tg_trit_scale_t scale,
                                     int32_t of_sum)
{
    for (int32_t c = 0; c < t->channels; c++) {
        int8_t *row = tg_ternary_row(t, c);
        const int32_t magnitude = t->magnitude[c];
        int32_t sum = 0;
        int32_t most = 0;
        int32_t all = 0;
        for (int32_t k = 0; k < t->positions; k++) {
            const int32_t weight = row[k] * magnitude;
            row[k] = (int8_t)weight;
            most |= weight ^ (weight >> 31);
            sum += weight;
            all += abs(weight);
        }
        t->bias[c] = tg_add_wrap(t->bias[c], of_sum * sum);
        t->usable = t->usable && (most <= INT8_MAX) &&
                    ((llabs((long long)t->bias[c]) + (INT64_C(128) * all)) < TG_SUM_LIMIT);
    }
    t->layer = (tg_weighted_t){.weights = t->weights,
                               .bias = t->bias,
                               .in_zero_point = in_zero_point,
                               .requant = {.multiplier = t->multiplier,
                                           .shift = t->shift,
                                           .zero_point = scale.zero_point,
                                           .act_min = scale.act_min,
                                           .act_max = scale.act_max,
                                           .narrow = 1}};
}

/* The same of a layer that has its own arrays; some kernels take the zero point from each activation. */
static inline void tg_ternary_finish_weighted(tg_ternary_t *t, const tg_weighted_t *layer, int32_t of_sum)
{
    const tg_requant_t *q = &layer->requant;
    const tg_trit_scale_t scale = {q->zero_point, q->act_min, q->act_max, 1};
    tg_ternary_weighted(t, layer);
    tg_ternary_finish(t, layer->in_zero_point, scale, of_sum);
}

#endif

#endif
