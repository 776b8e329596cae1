/* Depthwise convolution of any kind, on any core. */
#include "tg_planes.h"

void tg_depthwise_int8(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch)
{
    tg_planes_walk(p, in, (tg_sink_t){out, accumulators}, scratch, tg_plane_by_fours);
}
