/* Rows divided by their lengths. */
#ifndef TG_L2_NORMALIZATION_H
#define TG_L2_NORMALIZATION_H

#include <stdint.h>

/* Each row's distances from the zero point over the root of the sum of their squares; the output has scale 1/128
 * and zero point 0. */
typedef struct {
    int32_t rows, depth; /* depth at most 33,025, so that the sum fits 31 bits */
    int32_t zero_point;
} tg_l2_normalization_t;

void tg_l2_normalization(const tg_l2_normalization_t *p, const int8_t *in, int8_t *out);

#endif
