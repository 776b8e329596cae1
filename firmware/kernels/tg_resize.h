/* Images of other sizes. */
#ifndef TG_RESIZE_H
#define TG_RESIZE_H

#include <stdint.h>

/* Output pixel (y, x) is input pixel (rows[y], columns[x]). */
typedef struct {
    int32_t in_w, out_h, out_w, channels;
    const uint16_t *rows;
    const uint16_t *columns;
} tg_resize_nearest_t;

void tg_resize_nearest(const tg_resize_nearest_t *p, const int8_t *in, int8_t *out);

#endif
