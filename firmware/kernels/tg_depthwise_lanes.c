/* Depthwise convolution with neighbouring channels as the lanes of vectors. A pixel whose window lies inside the
 * input is computed in place; that of any other is copied, with its padding.
 *
 * Scratch: int32 places of the taps, in the input and in the copy, [an even number of taps] each; int8 copy
 * [taps][channels].
 */
#include "tg_core.h"
#include "tg_lanes.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    int32_t *inside; /* [taps]: where the taps read in the input, from the window's first pixel on */
    int32_t *apart;  /* [taps]: where they read in the copy */
    int8_t *copy;
    int32_t taps; /* even */
} work_t;

static work_t work_of(const tg_window_t *w, void *scratch)
{
    work_t work = {.inside = scratch, .taps = (w->kernel_h * w->kernel_w + 1) & ~1};
    work.apart = work.inside + work.taps;
    work.copy = (int8_t *)(void *)(work.apart + work.taps);
    work.inside[work.taps - 1] = 0; /* of a tap without weights, if their number is odd */
    work.apart[work.taps - 1] = 0;
    for (int32_t tap = 0; tap < (w->kernel_h * w->kernel_w); tap++) {
        const int32_t row = (tap / w->kernel_w) * w->dilation_h * w->in_w;
        work.inside[tap] = (row + ((tap % w->kernel_w) * w->dilation_w)) * w->in_c;
        work.apart[tap] = tap * w->in_c;
    }
    return work;
}

static void copy_window(const tg_window_t *w, const int8_t *in, int32_t top, int32_t left, int32_t zero_point,
                        int8_t *copy)
{
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (ky * w->dilation_h);
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const int32_t x = left + (kx * w->dilation_w);
            if ((y >= 0) && (y < w->in_h) && (x >= 0) && (x < w->in_w)) {
                tg_core_copy(copy, in + ((ptrdiff_t)((y * w->in_w) + x) * w->in_c), w->in_c);
            } else {
                (void)memset(copy, zero_point, (size_t)w->in_c);
            }
            copy += w->in_c;
        }
    }
}

void tg_depthwise_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                        void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way */
    if (tg_core_depthwise_lanes(p, in, out)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const work_t work = work_of(w, scratch);
    const int32_t last_top = w->in_h - 1 - ((w->kernel_h - 1) * w->dilation_h);
    const int32_t last_left = w->in_w - 1 - ((w->kernel_w - 1) * w->dilation_w);
    (void)accumulators; /* no such layer gives the logits */
    for (int32_t y = 0; y < w->out_h; y++) {
        const int32_t top = (y * w->stride_h) - w->pad_top;
        for (int32_t x = 0; x < w->out_w; x++) {
            const int32_t left = (x * w->stride_w) - w->pad_left;
            if ((top >= 0) && (top <= last_top) && (left >= 0) && (left <= last_left)) {
                const int8_t *first = in + ((ptrdiff_t)((top * w->in_w) + left) * w->in_c);
                tg_lanes_window(p, first, work.inside, work.taps, out);
            } else {
                copy_window(w, in, top, left, p->in_zero_point, work.copy);
                tg_lanes_window(p, work.copy, work.apart, work.taps, out);
            }
            out += w->in_c;
        }
    }
}
