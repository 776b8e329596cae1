/* Layers of cores with vectors of bytes (tg_lanes.h): their arrays are put in the order of the other cores' kernels, once in a
 * twin_run, and then take the host's way. */
#ifndef TG_HOST_LANES_H
#define TG_HOST_LANES_H

#include "tg_host_convolution.h"
#include "tg_host_depthwise_wide.h"

/* The layer with arrays of its own, of which so many bytes are weights, not yet written where *fresh. */
static inline tg_weighted_t tg_wide_layer(const tg_by_lanes_t *p, size_t weights, int8_t **to, bool *fresh)
{
    const int32_t channels = p->window.out_c;
    const twin_key_t key = {{p->weights, p->channels, NULL}};
    int32_t *numbers = twin_kept(key, ((size_t)channels * ((2 * sizeof *numbers) + 1)) + weights, fresh);
    int8_t *shift = (int8_t *)(numbers + ((ptrdiff_t)2 * channels));
    *to = shift + channels;
    for (int32_t c = 0; (c < channels) && *fresh; c++) {
        const tg_eight_t *eight = p->channels + (c / 8);
        const int32_t lane = ((c & 1) * 4) + ((c & 7) / 2);
        numbers[c] = eight->bias[lane];
        numbers[channels + c] = eight->multiplier[lane];
        shift[c] = eight->shift[lane];
    }
    const tg_trit_scale_t *scale = &p->scale;
    return (tg_weighted_t){.weights = *to,
                           .bias = numbers,
                           .in_zero_point = p->in_zero_point,
                           .requant = {.multiplier = numbers + channels,
                                       .shift = shift,
                                       .zero_point = scale->zero_point,
                                       .act_min = scale->act_min,
                                       .act_max = scale->act_max,
                                       .narrow = 1}};
}

TG_CORE bool tg_core_convolution_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out)
{
    static const int8_t order[4] = {0, 4, 2, 6};
    const tg_window_t *w = &p->window;
    if (twin_inferences() == 0u) {
        return false;
    }
    const int32_t count = w->kernel_h * w->kernel_w * w->in_c;
    const int32_t positions = (count + 3) & ~3;
    const size_t bytes = (size_t)((w->out_c + 1) & ~1) * (size_t)positions;
    int8_t *weights;
    bool fresh;
    const tg_weighted_t layer = tg_wide_layer(p, bytes, &weights, &fresh);
    if (fresh) {
        (void)memset(weights, 0, bytes);
        for (int32_t c = 0; c < w->out_c; c++) {
            const int8_t *from = p->weights + ((ptrdiff_t)c * count);
            int8_t *to = weights + ((ptrdiff_t)(c & ~1) * positions) + (c & 1);
            for (int32_t k = 0; k < count; k++) {
                to[(2 * (k & ~3)) + order[k & 3]] = from[k];
            }
        }
    }
    return tg_core_convolution(w, &layer, in, out, NULL);
}

TG_CORE bool tg_core_depthwise_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    if (twin_inferences() == 0u) {
        return false;
    }
    const int32_t taps = w->kernel_h * w->kernel_w;
    const int32_t even = (taps + 1) & ~1;
    int8_t *weights;
    bool fresh;
    tg_depthwise_t own = {.rows = {.in_step = w->in_w * w->in_c,
                                   .out_step = w->out_w * w->in_c,
                                   .in = w->in_h,
                                   .out = w->out_h,
                                   .kernel = w->kernel_h,
                                   .stride = w->stride_h,
                                   .dilation = w->dilation_h,
                                   .pad = w->pad_top},
                          .columns = {.in_step = w->in_c,
                                      .out_step = w->in_c,
                                      .in = w->in_w,
                                      .out = w->out_w,
                                      .kernel = w->kernel_w,
                                      .stride = w->stride_w,
                                      .dilation = w->dilation_w,
                                      .pad = w->pad_left},
                          .channels = w->in_c,
                          .depth_multiplier = 1};
    own.layer = tg_wide_layer(p, (size_t)w->in_c * (size_t)taps, &weights, &fresh);
    for (int32_t c = 0; (c < w->in_c) && fresh; c++) {
        const int8_t *from = p->weights + ((ptrdiff_t)(c / 8) * even * 8) + (c & 7);
        for (int32_t tap = 0; tap < taps; tap++) {
            weights[(c * taps) + tap] = from[tap * 8];
        }
    }
    return tg_core_depthwise(&own, in, out);
}

#endif
