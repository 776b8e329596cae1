/* Computes which part of a sliding window lies inside the input. */
#ifndef TG_WINDOW_H
#define TG_WINDOW_H

#include "tg_fixed.h"

typedef struct {
    int32_t origin; /* input coordinate of kernel element 0; may be outside the input */
    int32_t first;  /* first kernel element inside the input */
    int32_t end;    /* one past the last; <= first if none is inside */
} tg_span_t;

static inline tg_span_t tg_span(int32_t out, int32_t stride, int32_t pad, int32_t kernel, int32_t dilation,
                                int32_t size)
{
    tg_span_t span;
    span.origin = (out * stride) - pad;
    span.first = (span.origin < 0) ? ((dilation - 1 - span.origin) / dilation) : 0;
    span.end = (span.origin < size) ? tg_min(kernel, (size - span.origin + dilation - 1) / dilation) : 0;
    return span;
}

/* The first row or column of the input that lies in a phase. A phase consists of the padded rows or columns
 * whose number leaves that remainder when divided by the stride. */
static inline int32_t tg_phase_start(int32_t phase, int32_t padding, int32_t stride)
{
    const int32_t start = (phase - padding) % stride;
    return (start < 0) ? (start + stride) : start;
}

#endif
