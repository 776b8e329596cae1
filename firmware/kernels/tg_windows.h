/* Windows of bytes: those of a tile's pixels one after the other, each in the order of the weights. */
#ifndef TG_WINDOWS_H
#define TG_WINDOWS_H

#include "tg_columns.h"

/* Copy the windows of a tile's pixels to int8 windows [TG_TILE][positions]. */
static inline void tg_windows(const tg_window_t *w, int8_t zero_point, const int8_t *in,
                              const tg_tile_t *tile, int32_t positions, int8_t *windows)
{
    const int32_t run = w->kernel_w * w->in_c;
    const int32_t pitch = w->dilation_h * w->in_w * w->in_c;
    for (int32_t i = 0; i < TG_TILE; i++) {
        int8_t *to = windows + (i * positions);
        if (tile->inner) {
            const int8_t *from = in + tile->at[i];
            for (int32_t ky = 0; ky < w->kernel_h; ky++) {
                tg_core_copy(to, from, run);
                to += run;
                from += pitch;
            }
        } else {
            tg_gather(w, in, tile->y[i], tile->x[i], zero_point, to);
        }
    }
}

#endif
