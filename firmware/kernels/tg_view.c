#include "tg_view.h"

#include <stddef.h>
#include <string.h>

#define LAST (TG_VIEW_AXES - 1)

static void copy_row(const int8_t *in, int32_t step, int32_t count, int8_t *out)
{
    if (step == 1) {
        (void)memcpy(out, in, (size_t)count);
        return;
    }
    int32_t from = 0;
    for (int32_t i = 0; i < count; i++) {
        out[i] = in[from];
        from += step;
    }
}

/* The outer axes count like an odometer, and `from` follows them with additions only. */
void tg_view(const tg_view_t *p, const int8_t *in, int8_t *out)
{
    const int32_t width = p->sizes[LAST];
    int32_t index[LAST] = {0};
    int32_t from = p->offset;
    int32_t axis = 0;
    while (axis >= 0) {
        copy_row(in + from, p->steps[LAST], width, out);
        out += width;
        for (axis = LAST - 1; axis >= 0; axis--) {
            from += p->steps[axis];
            index[axis]++;
            if (index[axis] < p->sizes[axis]) {
                break;
            }
            from -= p->steps[axis] * p->sizes[axis];
            index[axis] = 0;
        }
    }
}
