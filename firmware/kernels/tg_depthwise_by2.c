/* Depthwise convolution with a column stride of 2, from bias to int8 in one pass; see tg_core_plane_by2. */
#include "tg_planes.h"

static void by_2(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel, tg_sink_t sink)
{
#ifdef TG_CORE_HAS_PLANE
    tg_core_plane_by2(plane, layer, channel, sink.out);
#else
    tg_plane_by_fours(plane, layer, channel, sink);
#endif
}

void tg_depthwise_by2(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch)
{
    tg_planes_walk(p, in, (tg_sink_t){out, accumulators}, scratch, by_2);
}
