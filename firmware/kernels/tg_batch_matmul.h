/* Products of matrices that both change from input to input. */
#ifndef TG_BATCH_MATMUL_H
#define TG_BATCH_MATMUL_H

#include "tg_kernels.h"

/* Where the two matrices of a product start. */
typedef struct {
    int32_t a, b;
} tg_product_t;

/* out[batch][i][j] is the sum over k of a[i * row_a + k * along_a] * b[j * row_b + k * along_b], relative to the
 * zero points and rescaled. Steps count elements. */
typedef struct {
    const tg_product_t *batches;
    int32_t count, rows, depth, columns;
    int32_t row_a, along_a, row_b, along_b;
    int32_t zero_point_a, zero_point_b;
    tg_scale_t scale;
    int32_t out_zero_point;
} tg_batch_matmul_t;

void tg_batch_matmul(const tg_batch_matmul_t *p, const int8_t *a, const int8_t *b, int8_t *out);

#endif
