#include "tg_resize_bilinear.h"

#include <stddef.h>

#define ONE 1024
#define HALF (ONE * ONE / 2)

/* Weights are in [-512, 1536], so that sums stay below 2^29. Halves round away from zero; C's division rounds
 * towards zero. */
void tg_resize_bilinear(const tg_resize_bilinear_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t y = 0; y < p->out_h; y++) {
        const tg_between_t row = p->rows[y];
        const int8_t *upper = in + ((ptrdiff_t)row.low * p->in_w * p->channels);
        const int8_t *lower = in + ((ptrdiff_t)row.high * p->in_w * p->channels);
        for (int32_t x = 0; x < p->out_w; x++) {
            const tg_between_t column = p->columns[x];
            const ptrdiff_t left = (ptrdiff_t)column.low * p->channels;
            const ptrdiff_t right = (ptrdiff_t)column.high * p->channels;
            const int32_t before = ONE - column.weight;
            for (int32_t c = 0; c < p->channels; c++) {
                const int32_t above = (upper[left + c] * before) + (upper[right + c] * column.weight);
                const int32_t below = (lower[left + c] * before) + (lower[right + c] * column.weight);
                const int32_t sum = (above * (ONE - row.weight)) + (below * row.weight);
                *out = (int8_t)((sum + ((sum > 0) ? HALF : -HALF)) / (ONE * ONE));
                out++;
            }
        }
    }
}
