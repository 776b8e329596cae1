/* Pools over int16 images. */
#ifndef TG_WIDE_POOL_H
#define TG_WIDE_POOL_H

#include "tg_kernels.h"

#include <stdint.h>

typedef struct {
    tg_window_t window;
    int16_t act_min, act_max;
} tg_wide_pool_t;

/* The average (halves away from zero, padding not counted) or the maximum over a window; in and out never overlap. */
void tg_wide_average_pool(const tg_wide_pool_t *p, const void *in, void *out);
void tg_wide_max_pool(const tg_wide_pool_t *p, const void *in, void *out);

#endif
