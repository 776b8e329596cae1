/* Depthwise convolution with a column stride of 1, from bias to int8 in one pass; see tg_core_plane_by1. */
#include "tg_planes.h"

static void by_1(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel, tg_sink_t sink)
{
#ifdef TG_CORE_HAS_PLANE
    tg_core_plane_by1(plane, layer, channel, sink.out);
#else
    tg_plane_by_fours(plane, layer, channel, sink);
#endif
}

void tg_depthwise_by1(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch)
{
    tg_planes_walk(p, in, (tg_sink_t){out, accumulators}, scratch, by_1);
}
