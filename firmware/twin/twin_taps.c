/* Ternary depthwise layers of tg_host_layers.h. */
#include "tg_host_trits.h"

#ifdef TG_CORE_HAS_CONVOLUTION

static tg_ternary_t *kept_depthwise(const void *packed, const void *channels, const tg_window_t *w,
                                    bool *fresh)
{
    const int32_t taps = w->kernel_h * w->kernel_w;
    return tg_ternary_layer(packed, channels, w, taps, taps, fresh);
}

/* A depthwise layer's weights are rows without a gap. */
static bool depthwise(const tg_ternary_t *t, const tg_window_t *w, const int8_t *in, int8_t *out)
{
    const tg_depthwise_t own = tg_wide_depthwise_of(w, t->layer);
    return t->usable && tg_core_depthwise(&own, in, out);
}

bool tg_core_depthwise_two_bits(const tg_depthwise_ternary_t *p, const int8_t *in, int8_t *out,
                                const int32_t *accumulators)
{
    const tg_window_t *w = &p->window;
    const int32_t taps = w->kernel_h * w->kernel_w;
    const int32_t words = (w->out_c + TG_TRITS_PER_WORD - 1) / TG_TRITS_PER_WORD;
    bool fresh;
    if ((p->layer.requant.narrow == 0) || (twin_inferences() == 0u) || (p->depth_multiplier != 1) ||
        (accumulators != NULL)) {
        return false;
    }
    tg_ternary_t *t = kept_depthwise(p->layer.trits, p->layer.bias, w, &fresh);
    if (fresh) {
        for (int32_t c = 0; c < w->out_c; c++) {
            int8_t *to = tg_ternary_row(t, c);
            for (int32_t tap = 0; tap < taps; tap++) {
                const uint32_t word = p->layer.trits[(tap * words) + (c / TG_TRITS_PER_WORD)];
                to[tap] = (int8_t)((int32_t)((word >> (2 * (c % TG_TRITS_PER_WORD))) & 3u) - 1);
            }
        }
        tg_ternary_finish_weighted(t, &p->layer, -p->layer.in_zero_point);
    }
    return depthwise(t, w, in, out);
}

bool tg_core_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, const int32_t *accumulators)
{
    const tg_window_t *w = &p->window;
    bool fresh;
    if ((p->scale.narrow == 0) || (twin_inferences() == 0u) || (p->depth_multiplier != 1) ||
        (p->taps > TG_NONZEROS) || (accumulators != NULL)) {
        return false;
    }
    tg_ternary_t *t = kept_depthwise(p->trits, p->channels, w, &fresh);
    if (fresh) {
        static const int8_t trit[4] = {-1, 0, 1, 0};
        for (int32_t c = 0; c < w->out_c; c++) {
            const uint8_t *from = p->trits + ((ptrdiff_t)c * ((p->taps + 3) / 4));
            int8_t *to = tg_ternary_row(t, c);
            for (int32_t tap = 0; tap < p->taps; tap++) {
                to[tap] = trit[(from[tap / 4] >> (2 * (tap % 4))) & 3];
            }
        }
        tg_ternary_channels(t, p->channels, w->out_c);
        tg_ternary_finish(t, p->in_zero_point, p->scale, 0);
    }
    return depthwise(t, w, in, out);
}
#endif
