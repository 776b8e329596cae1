#include "tg_sums.h"
#include "tg_taps.h"
#include "tg_window.h"

#include <string.h>

/* Scratch: the planes, int8 [in_c][stride_h * stride_w phases][plane_bytes], then a band's sums of one
 * channel, int16 [positions]. */

/* Copy one row of one input channel, in the columns of one phase, to its plane. */
static void gather_row(const int8_t *from, int32_t step, int32_t count, int8_t *to)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < count; i++) {
        to[i] = *from;
        from += step;
    }
}

static void gather(const tg_conv2d_steps_t *p, const int8_t *in, int32_t first_row, int8_t *planes)
{
    const tg_window_t *w = &p->window;
    const int32_t top = (first_row * w->stride_h) - w->pad_top;
    const int32_t channel_bytes = w->stride_h * w->stride_w * p->plane_bytes;
    const int32_t end = tg_min(p->band_input_rows, w->in_h - top);
    for (int32_t row = tg_max(-top, 0); row < end; row++) {
        for (int32_t horizontal = 0; horizontal < w->stride_w; horizontal++) {
            const int32_t x = tg_phase_start(horizontal, w->pad_left, w->stride_w);
            const int32_t phase = ((row % w->stride_h) * w->stride_w) + horizontal;
            const int32_t at = ((row / w->stride_h) * p->pitch) + ((x + w->pad_left) / w->stride_w);
            const int32_t count = tg_min((w->in_w - x + w->stride_w - 1) / w->stride_w, p->plane_bytes - at);
            const int8_t *from = in + ((ptrdiff_t)(((top + row) * w->in_w) + x) * w->in_c);
            int8_t *to = planes + (phase * p->plane_bytes) + at;
            for (int32_t c = 0; c < w->in_c; c++) {
                gather_row(from + c, w->stride_w * w->in_c, count, to);
                to += channel_bytes;
            }
        }
    }
}

void tg_conv2d_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
    const tg_window_t *w = &p->window;
    const tg_sink_t image = {out, accumulators};
    const int32_t bytes = w->in_c * w->stride_h * w->stride_w * p->plane_bytes;
    int8_t *planes = scratch;
    int16_t *sums = (int16_t *)(void *)(planes + bytes);
    for (int32_t row = 0; row < w->out_h; row += p->band_rows) {
        const tg_sums_t band = {sums, tg_min(p->band_rows, w->out_h - row), w->out_w, p->pitch};
        const int32_t positions = ((band.rows - 1) * p->pitch) + w->out_w;
        const tg_sink_t to = tg_sink_at(image, row * w->out_w * w->out_c);
        const uint8_t *list = p->lists;
        (void)memset(planes, p->in_zero_point, (size_t)bytes);
        gather(p, in, row, planes);
        for (int32_t c = 0; c < w->out_c; c++) {
            const tg_steps_t steps = {list + 2, list[0], list[1], p->unit_bytes};
            tg_steps_sum(planes, steps, positions, sums);
            tg_sums_output(&p->scale, p->channels + c, &band, to, w->out_c);
            list = steps.list + steps.minus + steps.plus;
        }
    }
}
