/* The depthwise convolutions of tg_host_layers.h. */
#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_depthwise_wide.h"
#include "tg_host_wide.h"

bool tg_core_depthwise(const tg_depthwise_t *p, const int8_t *in, int8_t *out)
{
    return tg_wide_depthwise(p, in, out);
}

/* The weights, which lie as tg_channels.h draws them, are put side by side by channel, once in a twin_run. */
bool tg_core_depthwise_channels(const tg_depthwise_channels_t *p, const int8_t *in, int8_t *out)
{
    const tg_window_t *w = &p->window;
    if (twin_inferences() == 0u) {
        return false;
    }
    const int32_t taps = w->kernel_h * w->kernel_w;
    const twin_key_t key = {{p->layer.weights, NULL, NULL}};
    bool fresh;
    int8_t *weights = twin_kept(key, (size_t)w->in_c * (size_t)taps, &fresh);
    const int32_t alone = (taps & 1) * 4; /* bytes of a first tap that is not one of a pair */
    for (int32_t i = 0; (i < (taps * ((w->in_c + 3) & ~3))) && fresh; i++) {
        const int32_t place = (i % (4 * taps)) - alone;
        const bool single = place < 0;
        const int32_t lane = single ? (place + 4) : (((place >> 1) & 2) + (place & 1));
        const int32_t tap = single ? 0 : ((taps & 1) + ((place / 8) * 2) + ((place >> 1) & 1));
        const int32_t c = ((i / (4 * taps)) * 4) + lane;
        if (c < w->in_c) {
            weights[(c * taps) + tap] = p->layer.weights[i];
        }
    }
    tg_weighted_t layer = p->layer;
    layer.weights = weights;
    const tg_depthwise_t own = tg_wide_depthwise_of(w, layer);
    return tg_core_depthwise(&own, in, out);
}
#endif
