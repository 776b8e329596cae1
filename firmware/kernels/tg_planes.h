/* Depthwise convolutions over planes. A plane holds a few rows of one channel as int16, with padding, so that
 * neighbours in a row share a word and the loops need no border cases. Four channels are prepared at a time.
 *
 *     plane of one channel
 *     | z  x0 | x1  x2 | ... | xn  z |  row
 *     | z  x0 | x1  x2 | ... | xn  z |  row
 *
 * Once a band of rows is done, the rows that the next band reads again move to the front. An input row is
 * read before the output row at the same place is written, so if both have the same shape, out may be in.
 *
 * Scratch: int16 planes [4, or fewer channels][plane rows][pitch], then one channel's weights, for cores that want them in a
 * form of their own.
 */
#ifndef TG_PLANES_H
#define TG_PLANES_H

#include "tg_core.h"
#include "tg_output.h"

/* Compute one channel's outputs of a band; sink is at the channel's first one. */
typedef void (*tg_plane_kernel_t)(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel,
                                  tg_sink_t sink);

/* Walk over all planes of a layer and call the kernel for each. */
void tg_planes_walk(const tg_depthwise_t *p, const int8_t *in, tg_sink_t sink, void *scratch,
                    tg_plane_kernel_t kernel);

/* The kernel for every layer and core: sums of four neighbours at a time. */
static inline void tg_plane_by_fours(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel,
                                     tg_sink_t sink)
{
    const tg_lane_t *row = plane->x;
    for (int32_t y = 0; y < plane->rows; y++) {
        for (int32_t i = 0; i < plane->count; i += TG_FOUR) {
            int32_t sums[TG_FOUR];
            tg_core_four(plane, row + (i * plane->stride), layer->bias[channel], sums);
            tg_output_run(layer, channel, sums, tg_min(TG_FOUR, plane->count - i),
                          tg_sink_at(sink, i * plane->step), plane->step);
        }
        row += plane->row_stride * plane->pitch;
        sink = tg_sink_at(sink, plane->row_step);
    }
}

#endif
