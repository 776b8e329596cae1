/* Products of int16 matrices that both change from input to input. */
#ifndef TG_WIDE_MATMUL_H
#define TG_WIDE_MATMUL_H

#include <stdint.h>

/* Where the two matrices of a product start. */
typedef struct {
    int32_t a, b;
} tg_wide_product_t;

/* out[batch][i][j] is the sum over k of a[i * row_a + k * along_a] * b[j * row_b + k * along_b], rescaled by
 * tg_wide_scale. Steps count elements. */
typedef struct {
    const tg_wide_product_t *batches;
    int32_t count, rows, depth, columns;
    int32_t row_a, along_a, row_b, along_b;
    int32_t multiplier, shift;
} tg_wide_matmul_t;

void tg_wide_matmul(const tg_wide_matmul_t *p, const void *a, const void *b, void *out);

#endif
