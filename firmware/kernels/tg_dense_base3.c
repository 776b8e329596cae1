#include "tg_dual.h"
#include "tg_dual_base3.h"

void tg_dense_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_dual_base3(p, TG_DUAL_PAIRS, in, out, accumulators, scratch)) {
        return;
    }
#endif
    tg_dual_base3(p, in, out, accumulators, scratch, tg_dense_dual);
}
