#include "tg_sums.h"
#include "tg_taps.h"
#include "tg_window.h"

#include <string.h>

/* Scratch: the planes, int8 [in_c][stride_h * stride_w phases][plane_bytes], then a band's sums of one
 * channel, int16 [positions]. */

/* Copy one row of one input channel, in the columns of one phase, to its plane. */
static void gather_row(const int8_t *from, int32_t step, int32_t count, int8_t *to)
{
    for (int8_t *end = to + count; to < end; to++) {
        *to = *from;
        from += step;
    }
}

/* Gather the rows of a band, of which the first `kept` are there already. */
static void gather(const tg_conv2d_steps_t *p, const int8_t *in, int32_t first_row, int32_t kept,
                   int8_t *planes)
{
    const tg_window_t *w = &p->window;
    const int32_t top = (first_row * w->stride_h) - w->pad_top;
    const int32_t channel_bytes = w->stride_h * w->stride_w * p->plane_bytes;
    const int32_t end = tg_min(p->band_input_rows, w->in_h - top);
    for (int32_t horizontal = 0; horizontal < w->stride_w; horizontal++) {
        const int32_t x = tg_phase_start(horizontal, w->pad_left, w->stride_w);
        const int32_t columns = (w->in_w - x + w->stride_w - 1) / w->stride_w;
        const int32_t column = (x + w->pad_left) / w->stride_w;
        for (int32_t row = tg_max(-top, kept); row < end; row++) {
            const int32_t phase = ((row % w->stride_h) * w->stride_w) + horizontal;
            const int32_t at = ((row / w->stride_h) * p->pitch) + column;
            const int32_t count = tg_min(columns, p->plane_bytes - at);
            const int8_t *from = in + ((ptrdiff_t)(((top + row) * w->in_w) + x) * w->in_c);
            int8_t *to = planes + (phase * p->plane_bytes) + at;
            for (const int8_t *last = from + w->in_c; from < last; from++) {
                gather_row(from, w->stride_w * w->in_c, count, to);
                to += channel_bytes;
            }
        }
    }
}

/* Keep what a band reads of the rows of the one before: move all planes up by that band's rows, and make the rest of each
 * padding. The last piece may reach into the sums behind the planes, which are computed anew. */
static void begin(const tg_conv2d_steps_t *p, int32_t kept, int32_t bytes, int8_t *planes)
{
    const int32_t rows = (kept > 0) ? (p->band_rows * p->pitch) : p->plane_bytes;
    int8_t *end = planes + bytes;
    for (int8_t *to = planes; (kept > 0) && (to < (end - rows)); to += 16) {
        uint32_t piece[4];
        (void)memcpy(piece, to + rows, sizeof piece);
        (void)memcpy(to, piece, sizeof piece);
    }
    do {
        (void)memset(end - rows, p->in_zero_point, (size_t)rows);
        end -= p->plane_bytes;
    } while (end != planes);
}

void tg_conv2d_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_steps(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const tg_sink_t image = {out, accumulators};
    const int32_t bytes = w->in_c * w->stride_h * w->stride_w * p->plane_bytes;
    int32_t kept = 0;
    int8_t *planes = scratch;
    int16_t *sums = (int16_t *)(void *)(planes + bytes);
    for (int32_t row = 0; row < w->out_h; row += p->band_rows) {
        const tg_sums_t band = {sums, tg_min(p->band_rows, w->out_h - row), w->out_w, p->pitch};
        const int32_t positions = ((band.rows - 1) * p->pitch) + w->out_w;
        const tg_sink_t to = tg_sink_at(image, row * w->out_w * w->out_c);
        const uint8_t *list = p->lists;
        begin(p, kept, bytes, planes);
        gather(p, in, row, kept, planes);
        kept = tg_max(p->band_input_rows - (p->band_rows * w->stride_h), 0);
        for (int32_t c = 0; c < w->out_c; c++) {
            const tg_steps_t steps = {list + 2, list[0], list[1], p->unit_bytes};
            tg_steps_sum(planes, steps, positions, sums);
            tg_sums_output(&p->scale, p->channels + c, &band, to, w->out_c);
            list = steps.list + steps.minus + steps.plus;
        }
    }
}
