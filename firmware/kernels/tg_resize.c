#include "tg_resize.h"

#include <stddef.h>
#include <string.h>

void tg_resize_nearest(const tg_resize_nearest_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t y = 0; y < p->out_h; y++) {
        const ptrdiff_t row = (ptrdiff_t)p->rows[y] * p->in_w;
        for (int32_t x = 0; x < p->out_w; x++) {
            (void)memcpy(out, in + ((row + p->columns[x]) * p->channels), (size_t)p->channels);
            out += p->channels;
        }
    }
}
