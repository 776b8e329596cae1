#include "tg_base3.h"
#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stddef.h>

static const uint8_t bytes[TG_BASE3_VALUES] = TG_BASE3_BYTES(2);

void tg_ternary_base3(const tg_ternary_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_two_bits_base3(p, in, out, accumulators, scratch)) {
        return;
    }
#endif
    const int32_t channels = p->ternary.window.out_c;
    const uint32_t *packed = p->packed;
    tg_conv2d_t group = p->ternary;
    group.layer.trits = scratch;
    for (int32_t channel = 0; channel < channels; channel += p->group) {
        const tg_weighted_t *all = &p->ternary.layer;
        group.window.out_c = tg_min(p->group, channels - channel);
        group.layer.magnitude = all->magnitude + channel;
        group.layer.bias = all->bias + channel;
        group.layer.requant.multiplier = all->requant.multiplier + channel;
        group.layer.requant.shift = all->requant.shift + channel;
        const int32_t trits = group.window.out_c * group.window.in_c;
        const int32_t words = ((trits + TG_TRITS_PER_WORD - 1) / TG_TRITS_PER_WORD) + 1;
        packed = tg_base3_decode(packed, words, bytes, scratch);
        tg_conv2d_ternary(&group, in, out + channel,
                          (accumulators == NULL) ? NULL : (accumulators + channel));
    }
}
