#include "tg_batch_matmul.h"

#include "tg_fixed.h"

static int32_t dot(const tg_batch_matmul_t *p, const int8_t *a, const int8_t *b)
{
    int32_t sum = 0;
    for (int32_t k = 0; k < p->depth; k++) {
        sum += (*a - p->zero_point_a) * (*b - p->zero_point_b);
        a += p->along_a;
        b += p->along_b;
    }
    return sum;
}

void tg_batch_matmul(const tg_batch_matmul_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t batch = 0; batch < p->count; batch++) {
        const int8_t *row = a + p->batches[batch].a;
        for (int32_t i = 0; i < p->rows; i++) {
            const int8_t *column = b + p->batches[batch].b;
            for (int32_t j = 0; j < p->columns; j++) {
                const int32_t value = tg_multiply(dot(p, row, column), p->scale.multiplier, p->scale.shift);
                *out = tg_clamp(tg_add_wrap(value, p->out_zero_point), INT8_MIN, INT8_MAX);
                out++;
                column += p->row_b;
            }
            row += p->row_a;
        }
    }
}
