#include "tg_mirror_pad.h"

#include <stddef.h>

void tg_mirror_pad(const tg_mirror_pad_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t y = 0; y < p->out_h; y++) {
        const ptrdiff_t row = (ptrdiff_t)p->rows[y] * p->in_w;
        for (int32_t x = 0; x < p->out_w; x++) {
            const int8_t *pixel = in + ((row + p->columns[x]) * p->in_c);
            for (int32_t c = 0; c < p->out_c; c++) {
                *out = pixel[p->depths[c]];
                out++;
            }
        }
    }
}
