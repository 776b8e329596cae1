/* The taps of a transposed convolution that reach an output coordinate. */
#ifndef TG_TRANSPOSED_H
#define TG_TRANSPOSED_H

#include "tg_fixed.h"

/* The taps of one axis that reach an output coordinate are first, first + stride, ... below end. Tap k reads
 * input coordinate (at - k) / stride. */
typedef struct {
    int32_t at, first, end;
} tg_reach_t;

static inline tg_reach_t tg_reach(int32_t out, int32_t stride, int32_t pad, int32_t kernel, int32_t size)
{
    tg_reach_t t;
    t.at = out + pad;
    t.first = t.at % stride;
    if (t.at - t.first >= size * stride) { /* earlier taps would read past the input's end */
        t.first = t.at - ((size - 1) * stride);
    }
    t.end = tg_min(kernel, t.at + 1);
    return t;
}

#endif
