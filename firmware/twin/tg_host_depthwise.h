/* Depthwise convolution with vectors, sixteen channels at a time. All pixels of these channels are first
 * copied as int16, with their padding, so that output and input may be the same memory. Taps are processed in
 * pairs, whose products VPMADDWD adds.
 */
#ifndef TG_HOST_DEPTHWISE_H
#define TG_HOST_DEPTHWISE_H

#include "tg_core_host.h"
#include "twin.h"

#define TG_BLOCK 16 /* channels */

static inline int32_t tg_host_extent(const tg_axis_t *axis)
{
    return ((axis->out - 1) * axis->stride) + ((axis->kernel - 1) * axis->dilation) + 1;
}

/* Fill x[row][column][TG_BLOCK] with the channels from `first` on, and the zero point around the input. */
static inline void tg_host_widen(const tg_depthwise_t *p, const int8_t *in, int32_t first, tg_lane_t *x)
{
    const int32_t count = tg_min(TG_BLOCK, p->channels - first);
    for (int32_t row = -p->rows.pad; row < tg_host_extent(&p->rows) - p->rows.pad; row++) {
        for (int32_t column = -p->columns.pad; column < tg_host_extent(&p->columns) - p->columns.pad;
             column++) {
            const bool inside = (row >= 0) && (row < p->rows.in) && (column >= 0) && (column < p->columns.in);
            int8_t channels[TG_BLOCK];
            (void)memset(channels, p->layer.in_zero_point, sizeof channels);
            if (inside) {
                const int8_t *from =
                    in + ((ptrdiff_t)row * p->rows.in_step) + (column * p->columns.in_step) + first;
                (void)memcpy(channels, from, (count == TG_BLOCK) ? TG_BLOCK : (size_t)count);
            }
            for (int32_t i = 0; i < TG_BLOCK; i++) {
                x[i] = channels[i];
            }
            x += TG_BLOCK;
        }
    }
}

/* Fill weights[tap][TG_BLOCK], with a tap of zeros after them that completes an odd number, and at[tap], the
 * offset in lanes at which a tap reads. Returns the number of pairs of taps. */
static inline int32_t tg_host_taps(const tg_depthwise_t *p, int32_t first, tg_lane_t *weights, int32_t *at)
{
    const int32_t taps = p->rows.kernel * p->columns.kernel;
    const int32_t count = tg_min(TG_BLOCK, p->channels - first);
    const int32_t pitch = tg_host_extent(&p->columns) * TG_BLOCK;
    for (int32_t tap = 0; tap < taps; tap++) {
        const int32_t row = (tap / p->columns.kernel) * p->rows.dilation;
        at[tap] = (row * pitch) + ((tap % p->columns.kernel) * p->columns.dilation * TG_BLOCK);
        for (int32_t i = 0; i < TG_BLOCK; i++) {
            weights[(tap * TG_BLOCK) + i] =
                (i < count) ? p->layer.weights[((ptrdiff_t)(first + i) * taps) + tap] : 0;
        }
    }
    (void)memset(weights + (taps * TG_BLOCK), 0, TG_BLOCK * sizeof *weights);
    at[taps] = 0;
    return (taps + 1) / 2;
}

/* What requantisation needs for each channel. */
typedef struct {
    int32_t bias[TG_BLOCK], multiplier[TG_BLOCK], right[TG_BLOCK], offset[TG_BLOCK];
    int32_t low, high;
} tg_host_scales_t;

static inline tg_host_scales_t tg_host_scales(const tg_weighted_t *layer, int32_t first, int32_t count)
{
    tg_host_scales_t scales = {.low = layer->requant.act_min, .high = layer->requant.act_max};
    for (int32_t i = 0; i < count; i++) {
        scales.bias[i] = layer->bias[first + i];
        scales.multiplier[i] = layer->requant.multiplier[first + i];
        scales.right[i] = -layer->requant.shift[first + i];
        scales.offset[i] = tg_scale_offset(layer->requant.zero_point, scales.right[i]);
    }
    return scales;
}

/* Compute the sums of TG_BLOCK channels at one pixel. Interleaving the lanes of two taps gives one vector of
 * channels 0-3 and 8-11 and one of channels 4-7 and 12-15. */
static inline void tg_host_pixel(const tg_lane_t *x, const tg_lane_t *weights, const int32_t *at,
                                 int32_t pairs, int32_t *sums)
{
    tg_words_t low = {0};
    tg_words_t high = {0};
    for (int32_t pair = 0; pair < pairs; pair++) {
        const tg_lanes_t x0 = (tg_lanes_t)tg_host_load(x + at[2 * pair]);
        const tg_lanes_t x1 = (tg_lanes_t)tg_host_load(x + at[(2 * pair) + 1]);
        const tg_lanes_t w0 = (tg_lanes_t)tg_host_load(weights + (2 * pair * TG_BLOCK));
        const tg_lanes_t w1 = (tg_lanes_t)tg_host_load(weights + (((2 * pair) + 1) * TG_BLOCK));
        low = tg_host_multiply_add(low, tg_host_low_lanes(x0, x1), (tg_lanes_t)tg_host_low_lanes(w0, w1));
        high = tg_host_multiply_add(high, tg_host_high_lanes(x0, x1), (tg_lanes_t)tg_host_high_lanes(w0, w1));
    }
    tg_host_store(sums, __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11));
    tg_host_store(sums + TG_VECTOR, __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15));
}

static inline void tg_host_pixel_out(const int32_t *sums, const tg_host_scales_t *scales, int32_t count,
                                     int8_t *out)
{
    int8_t values[TG_BLOCK];
    for (int32_t i = 0; i < TG_BLOCK; i++) {
        const int32_t acc = tg_add_wrap(sums[i], scales->bias[i]);
        const int32_t value =
            tg_scale_narrow(acc, scales->multiplier[i], scales->right[i], scales->offset[i]);
        values[i] = tg_clamp(value, scales->low, scales->high);
    }
    (void)memcpy(out, values, (count == TG_BLOCK) ? TG_BLOCK : (size_t)count);
}

TG_CORE bool tg_core_depthwise(const tg_depthwise_t *p, const int8_t *in, int8_t *out)
{
    if ((p->layer.requant.narrow == 0) || (p->depth_multiplier != 1)) {
        return false;
    }
    const int32_t taps = p->rows.kernel * p->columns.kernel;
    const int32_t pitch = tg_host_extent(&p->columns) * TG_BLOCK;
    const size_t lanes = ((size_t)tg_host_extent(&p->rows) * (size_t)pitch) + ((size_t)(taps + 1) * TG_BLOCK);
    tg_lane_t *weights = twin_scratch((lanes * sizeof *weights) + ((size_t)(taps + 1) * sizeof(int32_t)));
    tg_lane_t *x = weights + ((taps + 1) * TG_BLOCK);
    int32_t *at = (int32_t *)(void *)((tg_lane_t *)weights + lanes);
    for (int32_t first = 0; first < p->channels; first += TG_BLOCK) {
        const int32_t count = tg_min(TG_BLOCK, p->channels - first);
        const int32_t pairs = tg_host_taps(p, first, weights, at);
        const tg_host_scales_t scales = tg_host_scales(&p->layer, first, count);
        tg_host_widen(p, in, first, x);
        for (int32_t row = 0; row < p->rows.out; row++) {
            for (int32_t column = 0; column < p->columns.out; column++) {
                const tg_lane_t *window =
                    x + (row * p->rows.stride * pitch) + (column * p->columns.stride * TG_BLOCK);
                int32_t sums[TG_BLOCK];
                tg_host_pixel(window, weights, at, pairs, sums);
                tg_host_pixel_out(sums, &scales, count,
                                  out + ((ptrdiff_t)row * p->rows.out_step) + (column * p->columns.out_step) +
                                      first);
            }
        }
    }
    return true;
}

#endif
