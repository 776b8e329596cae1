/* Padding that mirrors the values next to an edge. */
#ifndef TG_MIRROR_PAD_H
#define TG_MIRROR_PAD_H

#include <stdint.h>

/* Output element (y, x, c) is input element (rows[y], columns[x], depths[c]). */
typedef struct {
    int32_t in_w, in_c, out_h, out_w, out_c;
    const uint16_t *rows;
    const uint16_t *columns;
    const uint16_t *depths;
} tg_mirror_pad_t;

void tg_mirror_pad(const tg_mirror_pad_t *p, const int8_t *in, int8_t *out);

#endif
