/* Depthwise convolution over planes. A plane holds a few rows of one channel as int16, with padding, so that
 * neighbours in a row share a word and the loops need no border cases. Four channels are prepared at a time.
 *
 *     plane of one channel                     taps of one channel, kernel width 3
 *     | z  x0 | x1  x2 | ... | xn  z |  row    | w0 w1 | w2 0 |  | 0 w0 | w1 w2 |
 *     | z  x0 | x1  x2 | ... | xn  z |  row    |  as they are |  | one later    |
 *
 * Once a band of rows is done, the rows that the next band reads again move to the front. An input row is
 * read before the output row at the same place is written, so if both have the same shape, out may be in.
 *
 * Scratch: int16 planes [4][plane rows][pitch], int16 taps [kernel rows][2][taps' pitch], int32 sums [out
 * columns]. */
#include "tg_core.h"
#include "tg_output.h"

#define GROUP 4

typedef struct {
    tg_lane_t *planes; /* [GROUP][rows][pitch] */
    tg_lane_t *taps;   /* [kernel][2][reach] */
    int32_t *sums;
    int32_t rows, pitch;
    int32_t reach; /* kernel columns including the gaps of dilation; even */
} work_t;

static int32_t even(int32_t value)
{
    return (value + 1) & ~1;
}

static int32_t extent(const tg_axis_t *axis)
{
    return ((axis->kernel - 1) * axis->dilation) + 1;
}

/* This runs once per layer and is therefore optimized for size. */
__attribute__((cold)) static work_t work_of(const tg_depthwise_t *p, void *scratch)
{
    work_t work;
    work.reach = even(extent(&p->columns));
    work.rows = ((p->band - 1) * p->rows.stride) + extent(&p->rows);
    work.pitch = (((p->columns.out + 3) & ~3) * p->columns.stride) + work.reach;
    work.pitch = even(work.pitch);
    work.planes = scratch;
    work.taps = work.planes + (GROUP * work.rows * work.pitch);
    work.sums = (int32_t *)(void *)(work.taps + (2 * p->rows.kernel * work.reach));
    return work;
}

static void fill(tg_lane_t *lanes, int32_t count, int32_t value)
{
    for (int32_t i = 0; i < count; i++) {
        lanes[i] = (tg_lane_t)value;
    }
}

/* Copy row `y` of the input, which may be outside it, to row `to` of the planes of the channels from `first`
 * on. Left and right of the input the planes already hold the zero point. */
static void fill_row(const tg_depthwise_t *p, const int8_t *in, int32_t first, int32_t y, int32_t to,
                     const work_t *work)
{
    const int32_t channels = tg_min(GROUP, p->channels - first);
    const int32_t plane = work->rows * work->pitch;
    tg_lane_t *row = work->planes + (to * work->pitch);
    if ((y >= 0) && (y < p->rows.in)) {
        const int32_t count = tg_min(p->columns.in, work->pitch - p->columns.pad);
        const int8_t *from = in + ((ptrdiff_t)y * p->rows.in_step) + first;
        tg_core_split(from, p->columns.in_step, count, channels, row + p->columns.pad, plane);
    } else if (p->band < p->rows.out) {
        for (int32_t c = 0; c < channels; c++) {
            fill(row + (c * plane), work->pitch, p->layer.in_zero_point);
        }
    } else {
        /* such a row still holds the zero point: in a single band it is outside for all channels */
    }
}

/* Fill the planes' rows that the outputs from row `first` on need; `kept` of them are there already. */
static void fill_band(const tg_depthwise_t *p, const int8_t *in, int32_t channel, int32_t first,
                      const work_t *work)
{
    const int32_t kept = (first == 0) ? 0 : tg_max(0, extent(&p->rows) - p->rows.stride);
    const int32_t gone = p->band * p->rows.stride * work->pitch;
    for (int32_t c = 0; c < GROUP; c++) {
        tg_lane_t *plane = work->planes + (c * work->rows * work->pitch);
        for (int32_t i = 0; i < (kept * work->pitch); i++) {
            plane[i] = plane[gone + i];
        }
    }
    for (int32_t i = kept; i < work->rows; i++) {
        fill_row(p, in, channel, (first * p->rows.stride) - p->rows.pad + i, i, work);
    }
}

static void read_taps(const tg_depthwise_t *p, int32_t channel, const work_t *work)
{
    const int8_t *w = p->layer.weights + ((ptrdiff_t)channel * p->rows.kernel * p->columns.kernel);
    tg_lane_t *taps = work->taps;
    for (int32_t ky = 0; ky < p->rows.kernel; ky++) {
        fill(taps, 2 * work->reach, 0);
        for (int32_t kx = 0; kx < p->columns.kernel; kx++) {
            const int32_t at = kx * p->columns.dilation;
            taps[at] = w[kx];
            if ((at + 1) < work->reach) {
                taps[work->reach + at + 1] = w[kx];
            }
        }
        w += p->columns.kernel;
        taps += 2 * work->reach;
    }
}

/* Compute the output rows of one channel, from row `top` of the band on. */
static void output_rows(const tg_depthwise_t *p, int32_t channel, int32_t top, const work_t *work,
                        tg_sink_t sink)
{
    const tg_lane_t *x =
        work->planes + (((channel / p->depth_multiplier) % GROUP) * work->rows * work->pitch);
    const tg_plane_t plane = {
        .x = x,
        .taps = work->taps,
        .pitch = work->pitch,
        .kernel = p->rows.kernel,
        .reach = work->reach,
        .dilation = p->rows.dilation,
        .stride = p->columns.stride,
        .row_stride = p->rows.stride,
        .count = p->columns.out,
        .rows = tg_min(p->band, p->rows.out - top),
        .step = p->columns.out_step,
        .row_step = p->rows.out_step,
    };
    read_taps(p, channel, work);
    if ((sink.accumulators == NULL) && tg_core_plane(&plane, &p->layer, channel, sink.out)) {
        return;
    }
    for (int32_t y = 0; y < plane.rows; y++) {
        for (int32_t i = 0; i < plane.count; i++) {
            work->sums[i] = p->layer.bias[channel];
        }
        tg_core_row(&plane, x + (y * plane.row_stride * plane.pitch), work->sums);
        tg_output_run(&p->layer, channel, work->sums, plane.count, tg_sink_at(sink, y * plane.row_step),
                      plane.step);
    }
}

void tg_depthwise_int8(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch)
{
#ifdef TG_CORE_HAS_DEPTHWISE /* the host has its own way for some layers */
    if ((accumulators == NULL) && tg_core_depthwise(p, in, out)) {
        return;
    }
#endif
    const work_t work = work_of(p, scratch);
    fill(work.planes, GROUP * work.rows * work.pitch, p->layer.in_zero_point);
    for (int32_t first = 0; first < p->channels; first += GROUP) {
        const int32_t end = tg_min(first + GROUP, p->channels) * p->depth_multiplier;
        for (int32_t top = 0; top < p->rows.out; top += p->band) {
            const tg_sink_t sink = tg_sink_at((tg_sink_t){out, accumulators}, top * p->rows.out_step);
            fill_band(p, in, first, top, &work);
            for (int32_t channel = first * p->depth_multiplier; channel < end; channel++) {
                output_rows(p, channel, top, &work, tg_sink_at(sink, channel));
            }
        }
    }
}
