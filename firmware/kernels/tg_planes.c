#include "tg_planes.h"

#define GROUP 4

/* Two lanes. */
typedef uint32_t __attribute__((may_alias)) pair_t;

typedef struct {
    tg_lane_t *planes; /* [count][rows][pitch] */
    tg_lane_t *taps;
    int32_t count, rows, pitch;
} work_t;

static int32_t extent(const tg_axis_t *axis)
{
    return ((axis->kernel - 1) * axis->dilation) + 1;
}

/* This runs once per layer and is therefore optimized for size. */
__attribute__((cold)) static work_t work_of(const tg_depthwise_t *p, void *scratch)
{
    work_t work;
    work.rows = ((p->band - 1) * p->rows.stride) + extent(&p->rows);
    work.pitch = ((((p->columns.out + 3) & ~3) * p->columns.stride) + extent(&p->columns) + 1) & ~1;
    work.count = tg_min(GROUP, p->channels);
    work.planes = scratch;
    work.taps = work.planes + (work.count * work.rows * work.pitch);
    return work;
}

/* Sets what is the same for all channels and bands. This, too, runs once per layer. */
__attribute__((cold)) static void prepare(tg_plane_t *plane, const tg_depthwise_t *p, const work_t *work)
{
    plane->records_end = NULL;
    plane->taps = work->taps;
    plane->pitch = work->pitch;
    plane->height = p->rows.kernel;
    plane->row_stride = p->rows.stride;
    plane->row_step = p->rows.out_step;
    plane->dilation = p->rows.dilation;
    plane->width = p->columns.kernel;
    plane->stride = p->columns.stride;
    plane->step = p->columns.out_step;
    plane->gap = p->columns.dilation;
    plane->count = p->columns.out;
}

/* Fill an even number of lanes. Not inlined, so that the loops around it keep their registers. */
__attribute__((noinline)) static void fill(tg_lane_t *lanes, int32_t count, int32_t value)
{
    const uint32_t pair = ((uint32_t)value << 16) | ((uint32_t)value & 0xFFFFu);
    pair_t *to = (pair_t *)(void *)lanes;
    for (; count > 0; count -= 2) {
        *to = pair;
        to++;
    }
}

/* Copy row `y` of the input, which may be outside it, to row `to` of the planes of the channels from `first`
 * on. Left and right of the input the planes already hold the zero point. */
__attribute__((noinline)) static void fill_row(const tg_depthwise_t *p, const int8_t *in, int32_t first,
                                               int32_t y, int32_t to, const work_t *work)
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
    for (int32_t c = 0; (c < work->count) && (kept > 0); c++) {
        pair_t *plane = (pair_t *)(void *)(work->planes + (c * work->rows * work->pitch));
        for (int32_t i = 0; i < (kept * work->pitch / 2); i++) {
            plane[i] = plane[(gone / 2) + i];
        }
    }
    for (int32_t i = kept; i < work->rows; i++) {
        fill_row(p, in, channel, (first * p->rows.stride) - p->rows.pad + i, i, work);
    }
}

void tg_planes_walk(const tg_depthwise_t *p, const int8_t *in, tg_sink_t sink, void *scratch,
                    tg_plane_kernel_t kernel)
{
#ifdef TG_CORE_HAS_DEPTHWISE /* the host has its own way for some layers */
    if ((sink.accumulators == NULL) && tg_core_depthwise(p, in, sink.out)) {
        return;
    }
#endif
    const work_t work = work_of(p, scratch);
    const int32_t taps = p->rows.kernel * p->columns.kernel;
    tg_plane_t plane;
    prepare(&plane, p, &work);
    fill(work.planes, work.count * work.rows * work.pitch, p->layer.in_zero_point);
    for (int32_t first = 0; first < p->channels; first += GROUP) {
        const int32_t end = tg_min(first + GROUP, p->channels);
        for (int32_t top = 0; top < p->rows.out; top += p->band) {
            int32_t left = p->depth_multiplier;
            int32_t channel = first * left;
            fill_band(p, in, first, top, &work);
            plane.rows = tg_min(p->band, p->rows.out - top);
            plane.x = work.planes;
            plane.weights = p->layer.weights + ((ptrdiff_t)channel * taps);
            for (const int32_t behind = end * left; channel < behind; channel++) {
                kernel(&plane, &p->layer, channel, tg_sink_at(sink, (top * p->rows.out_step) + channel));
                plane.weights += taps;
                left--;
                if (left == 0) {
                    left = p->depth_multiplier;
                    plane.x += work.rows * work.pitch;
                }
            }
        }
    }
}
