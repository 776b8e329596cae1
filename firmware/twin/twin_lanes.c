/* Layers of cores with vectors of bytes (tg_lanes.h): what eight channels share is put in the order of the other cores'
 * kernels, once in a twin_run. */
#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_wide.h"

/* The layer with arrays of its own, of which so many bytes are weights, not yet written where *fresh. */
static tg_weighted_t layer_of(const tg_by_lanes_t *p, size_t weights, int8_t **to, bool *fresh)
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

bool tg_core_convolution_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    if (twin_inferences() == 0u) {
        return false;
    }
    int8_t *none;
    bool fresh;
    tg_weighted_t layer = layer_of(p, 0, &none, &fresh);
    layer.weights = p->weights;
    return tg_core_convolution_rows(w, &layer, w->kernel_h * w->kernel_w * w->in_c, in, out, NULL);
}

bool tg_core_depthwise_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    if (twin_inferences() == 0u) {
        return false;
    }
    const int32_t taps = w->kernel_h * w->kernel_w;
    const int32_t even = (taps + 1) & ~1;
    int8_t *weights;
    bool fresh;
    const tg_weighted_t layer = layer_of(p, (size_t)w->in_c * (size_t)taps, &weights, &fresh);
    for (int32_t c = 0; (c < w->in_c) && fresh; c++) {
        const int8_t *from = p->weights + ((ptrdiff_t)(c / 8) * even * 8) + (c & 7);
        for (int32_t tap = 0; tap < taps; tap++) {
            weights[(c * taps) + tap] = from[tap * 8];
        }
    }
    const tg_depthwise_t own = tg_wide_depthwise_of(w, layer);
    return tg_core_depthwise(&own, in, out);
}
#endif
