/* Several tensors into one. */
#ifndef TG_CONCATENATE_H
#define TG_CONCATENATE_H

#include <stdint.h>

/* Each output row is row after row of `count` inputs; widths: elements of a row of each. */
typedef struct {
    int32_t count, rows;
    const int32_t *widths;
} tg_concatenate_t;

void tg_concatenate(const tg_concatenate_t *p, const int8_t *const *in, int8_t *out);

#endif
