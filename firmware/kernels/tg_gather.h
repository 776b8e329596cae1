/* Chosen slices along one axis. */
#ifndef TG_GATHER_H
#define TG_GATHER_H

#include <stdint.h>

/* The input is [rows][side][width], the output [rows][count][width]. */
typedef struct {
    int32_t rows, side, width, count;
    const int32_t *indices;
} tg_gather_t;

void tg_gather(const tg_gather_t *p, const int8_t *in, int8_t *out);

#endif
