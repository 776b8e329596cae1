/* Depthwise convolution pixel by pixel, four channels at a time (tg_channels.h).
 *
 * Scratch: const int8_t *places [taps]; int8 zero points [channels].
 */
#include "tg_channels.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef const int8_t *place_t;

/* The arena is aligned to words, which are shorter than the twin's pointers. */
static place_t *aligned(void *scratch)
{
    const uintptr_t mask = sizeof(place_t) - 1u;
    return (place_t *)(((uintptr_t)scratch + mask) & ~mask);
}

/* Say where the taps of a window read; those outside the input do so from `outside`. Returns whether all are inside. */
__attribute__((cold, noinline)) static bool find(const tg_window_t *w, const int8_t *in, int32_t top,
                                                 int32_t left, const int8_t *outside, place_t *places)
{
    bool inside = true;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (ky * w->dilation_h);
        const int32_t width = ((y >= 0) && (y < w->in_h)) ? w->in_w : 0;
        int32_t x = left;
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const bool within = (x >= 0) && (x < width);
            *places = within ? (in + ((ptrdiff_t)((y * w->in_w) + x) * w->in_c)) : outside;
            inside = inside && within;
            places++;
            x += w->dilation_w;
        }
    }
    return inside;
}

/* The loops that take time are in functions of their own. */
__attribute__((cold)) void tg_depthwise_channels(const tg_depthwise_channels_t *p, const int8_t *in,
                                                 int8_t *out, int32_t *accumulators, void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way */
    if (tg_core_depthwise_channels(p, in, out)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int32_t whole = w->in_c & ~(TG_CHANNELS - 1);
    place_t *places = aligned(scratch);
    const tg_places_t at = {places, places + ((ptrdiff_t)w->kernel_h * w->kernel_w)};
    int8_t *outside = (int8_t *)(places + (at.end - at.first));
    (void)memset(outside, p->layer.in_zero_point, (size_t)w->in_c);
    (void)accumulators; /* no such layer gives the logits */
    /* Pixels follow one another along rows, or, where a row has one, down the column. */
    const bool column = w->out_w == 1;
    const int32_t step = column ? (w->stride_h * w->in_w * w->in_c) : (w->stride_w * w->in_c);
    const int32_t last_top = w->in_h - 1 - ((w->kernel_h - 1) * w->dilation_h);
    const int32_t last_left = w->in_w - 1 - ((w->kernel_w - 1) * w->dilation_w);
    bool inside = false;
    for (int32_t y = 0; y < w->out_h; y++) {
        const int32_t top = (y * w->stride_h) - w->pad_top;
        int32_t left = -w->pad_left;
        inside = inside && column;
        for (int32_t x = 0; x < w->out_w; x++) {
            if (inside && (top <= last_top) && (left <= last_left)) {
                for (place_t *place = places; place != at.end; place++) {
                    *place += step;
                }
            } else {
                inside = find(w, in, top, left, outside, places);
            }
            if (whole > 0) {
                tg_channels_whole(&p->layer, whole, at, out);
            }
            if (whole < w->in_c) {
                tg_channels_some(&p->layer, whole, w->in_c, at, out);
            }
            out += w->in_c;
            left += w->stride_w;
        }
    }
}
