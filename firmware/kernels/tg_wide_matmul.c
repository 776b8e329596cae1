#include "tg_wide_matmul.h"

#include "tg_wide.h"

static int64_t dot(const tg_wide_matmul_t *p, const int16_t *a, const int16_t *b)
{
    int64_t sum = 0;
    for (int32_t k = 0; k < p->depth; k++) {
        sum += (int32_t)*a * *b;
        a += p->along_a;
        b += p->along_b;
    }
    return sum;
}

void tg_wide_matmul(const tg_wide_matmul_t *p, const void *a, const void *b, void *out)
{
    int16_t *to = out;
    for (int32_t batch = 0; batch < p->count; batch++) {
        const int16_t *row = (const int16_t *)a + p->batches[batch].a;
        for (int32_t i = 0; i < p->rows; i++) {
            const int16_t *column = (const int16_t *)b + p->batches[batch].b;
            for (int32_t j = 0; j < p->columns; j++) {
                const int32_t value = tg_wide_scale(dot(p, row, column), p->multiplier, p->shift);
                *to++ = tg_wide_clamp(value, INT16_MIN, INT16_MAX);
                column += p->row_b;
            }
            row += p->row_a;
        }
    }
}
