#include "tg_gather.h"

#include <stddef.h>
#include <string.h>

void tg_gather(const tg_gather_t *p, const int8_t *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        for (int32_t i = 0; i < p->count; i++) {
            (void)memcpy(out, in + ((ptrdiff_t)p->indices[i] * p->width), (size_t)p->width);
            out += p->width;
        }
        in += (ptrdiff_t)p->side * p->width;
    }
}
