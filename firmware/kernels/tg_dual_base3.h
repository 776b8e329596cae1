/* Dual-channel words stored in base 3. A group of channels is decoded into the scratch, and then the kernel
 * for dual-channel words runs as if the layer had no other channels. */
#ifndef TG_DUAL_BASE3_H
#define TG_DUAL_BASE3_H

#include "tg_base3.h"
#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>

typedef void (*tg_dual_layer_t)(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                                void *scratch);

/* Low channels have trit + 1 in the even fields; high channels have the trit in two bits, 3 for -1, in the
 * odd fields (tg_dual.h). */
static inline void tg_dual_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out,
                                 int32_t *accumulators, void *scratch, tg_dual_layer_t layer)
{
    static const uint8_t bytes[TG_BASE3_VALUES] = TG_BASE3_BYTES(3);
    const uint32_t *packed = p->packed;
    tg_dual_t group = p->dual;
    group.trits = scratch;
    for (int32_t pair = 0; pair < p->dual.pairs; pair += p->group) {
        group.pairs = tg_min(p->group, p->dual.pairs - pair);
        group.lanes = p->dual.lanes + (2 * (ptrdiff_t)pair);
        packed = tg_base3_decode(packed, group.pairs * group.words, bytes, scratch);
        layer(&group, in, out, accumulators, (uint8_t *)scratch + p->decoded_bytes);
    }
}

#endif
