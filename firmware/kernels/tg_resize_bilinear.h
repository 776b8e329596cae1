/* Images of other sizes, whose pixels lie between those of the input. */
#ifndef TG_RESIZE_BILINEAR_H
#define TG_RESIZE_BILINEAR_H

#include <stdint.h>

/* A coordinate between two of the input: the weight of `high` in 1024ths, the rest belongs to `low`. */
typedef struct {
    int16_t low, high, weight;
} tg_between_t;

typedef struct {
    int32_t in_w, out_h, out_w, channels;
    const tg_between_t *rows;
    const tg_between_t *columns;
} tg_resize_bilinear_t;

void tg_resize_bilinear(const tg_resize_bilinear_t *p, const int8_t *in, int8_t *out);

#endif
