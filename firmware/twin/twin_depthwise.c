/* The depthwise convolutions of tg_host_layers.h. */
#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_depthwise_wide.h"

bool tg_core_depthwise(const tg_depthwise_t *p, const int8_t *in, int8_t *out)
{
    return tg_wide_depthwise(p, in, out);
}
#endif
