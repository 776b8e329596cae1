/* A filter over time of rank one or more (SVDF): int8 in and out, a memory of what each filter saw, of 16 or 8 bits. */
#ifndef TG_SVDF_H
#define TG_SVDF_H

#include "tg_kernels.h"

/* Each of units * rank filters sees the input once; the last `memory` values that it saw are weighted over time, and
 * the filters of a unit are summed up. Zero points are in the biases.
 */
typedef struct {
    const int8_t *weights; /* [units * rank][depth] */
    const int32_t *offset; /* [units * rank] */
    const int16_t *wide;   /* [units * rank][memory]: the weights over time for a memory of int16, */
    const int8_t *narrow;  /* or those for one of int8; the other one is NULL */
    const int32_t *bias;   /* [units] */
    int32_t depth, units, rank, memory;
    tg_scale_t seen, out;
    int32_t zero_point; /* of a memory of int8 */
    int32_t out_zero_point;
} tg_svdf_t;

/* state, int16 or int8[units * rank][memory] and aligned to 4 bytes, is kept from one call to the next. Nothing
 * overlaps. */
void tg_svdf(const tg_svdf_t *p, const int8_t *in, int8_t *state, int8_t *out);

#endif
