/* The convolutions of tg_host_layers.h. */
#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_convolution.h"

#define VECTORS_WORTH 4 /* inferences for which a dense layer's weights are packed */

bool tg_core_convolution(const tg_window_t *w, const tg_weighted_t *layer, const int8_t *in, int8_t *out,
                         int32_t *accumulators)
{
    return tg_core_convolution_rows(w, layer, 0, in, out, accumulators);
}

bool tg_core_convolution_rows(const tg_window_t *w, const tg_weighted_t *layer, int32_t row, const int8_t *in,
                              int8_t *out, int32_t *accumulators)
{
    return tg_wide_convolution(w, layer, row, in, out, accumulators);
}

bool tg_core_dense(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    const tg_window_t w = tg_dense_window(p->depth, p->units);
    return twin_worth(VECTORS_WORTH) && tg_core_convolution(&w, &p->layer, in, out, accumulators);
}
#endif
