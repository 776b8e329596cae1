#include "tg_dual_base3.h"

void tg_dense_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch)
{
    tg_dual_base3(p, in, out, accumulators, scratch, tg_dense_dual);
}
