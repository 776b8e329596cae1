/* Copies bytes in another order: slices, transpositions, parts of a split. */
#ifndef TG_VIEW_H
#define TG_VIEW_H

#include <stdint.h>

#define TG_VIEW_AXES 5

/* out[i0][i1]...[i4] = in[offset + i0 * steps[0] + ... + i4 * steps[4]]; unused axes come first and have
 * size 1. A step may be negative. */
typedef struct {
    int32_t offset;
    int32_t sizes[TG_VIEW_AXES];
    int32_t steps[TG_VIEW_AXES];
} tg_view_t;

void tg_view(const tg_view_t *p, const int8_t *in, int8_t *out);

#endif
