#include "tg_concatenate.h"

#include <stddef.h>
#include <string.h>

void tg_concatenate(const tg_concatenate_t *p, const int8_t *const *in, int8_t *out)
{
    for (int32_t row = 0; row < p->rows; row++) {
        for (int32_t i = 0; i < p->count; i++) {
            const int32_t width = p->widths[i];
            (void)memcpy(out, in[i] + ((ptrdiff_t)row * width), (size_t)width);
            out += width;
        }
    }
}
