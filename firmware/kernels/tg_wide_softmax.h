/* Softmax of int16. */
#ifndef TG_WIDE_SOFTMAX_H
#define TG_WIDE_SOFTMAX_H

#include "tg_kernels.h"

#include <stdint.h>

#define TG_WIDE_SOFTMAX_POINTS 513

/* The exponential of x in [-10, 0] and 1 / (1 + x) of x in [0, 1], each at 513 points, in 2^-15. `scale` takes
 * differences of the input to 10 / 65535 a step. out may be in: an element is read before one is written. */
typedef struct {
    int32_t rows, depth;
    tg_scale_t scale;
    const int16_t *exponential;
    const int16_t *reciprocal;
} tg_wide_softmax_t;

void tg_wide_softmax(const tg_wide_softmax_t *p, const void *in, void *out);

#endif
