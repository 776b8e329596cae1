#include "tg_dual_base3.h"

void tg_conv2d_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_dual_base3(p, 1, in, out, accumulators, scratch)) {
        return;
    }
#endif
    tg_dual_base3(p, in, out, accumulators, scratch, tg_conv2d_dual);
}
