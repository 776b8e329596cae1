/* Joins several tensors into one. */
#ifndef TG_CONCATENATE_H
#define TG_CONCATENATE_H

#include <stdint.h>

/* An output row consists of one row of each of the `count` inputs; widths holds the elements in such a
 * row. */
typedef struct {
    int32_t count, rows;
    const int32_t *widths;
} tg_concatenate_t;

void tg_concatenate(const tg_concatenate_t *p, const int8_t *const *in, int8_t *out);

#endif
