/* From an image to columns: what the windows of a tile's pixels read, padding filled with the zero point.
 *
 * Padding that holds the zero point contributes nothing once the zero point is folded into the bias (bias
 * minus zero point times the sum of weights), so the loops over columns know neither padding nor zero point.
 *
 * Scratch: columns, int16[positions * TG_TILE], then the bytes of one padding position, int8[in_c], where
 * in_c is a multiple of four; else one gathered window a pixel, int8[TG_TILE][positions]. positions is
 * kernel_h * kernel_w * in_c, rounded up to a multiple of four.
 */
#ifndef TG_COLUMNS_H
#define TG_COLUMNS_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Where the windows of a tile's pixels start in the input; may lie outside. Pixels behind the image's last
 * repeat the last. */
typedef struct {
    int32_t y[TG_TILE];
    int32_t x[TG_TILE];
    int32_t next_y, next_x; /* output coordinates of the pixel that follows */
} tg_tile_t;

static inline void tg_tile_next(const tg_window_t *w, tg_tile_t *tile)
{
    for (int32_t i = 0; i < TG_TILE; i++) {
        tile->y[i] = (tile->next_y * w->stride_h) - w->pad_top;
        tile->x[i] = (tile->next_x * w->stride_w) - w->pad_left;
        if ((tile->next_x + 1) < w->out_w) {
            tile->next_x++;
        } else if ((tile->next_y + 1) < w->out_h) {
            tile->next_x = 0;
            tile->next_y++;
        } else {
            /* stays on the last */
        }
    }
}

static inline int32_t tg_positions(const tg_window_t *w)
{
    return ((w->kernel_h * w->kernel_w * w->in_c) + 3) & ~3;
}

/* The windows lie in one row each of the input's interior: a whole kernel row is one run of bytes. */
static inline bool tg_tile_is_inner(const tg_window_t *w, const tg_tile_t *tile)
{
    return (w->dilation_w == 1) && (tile->y[0] == tile->y[TG_TILE - 1]) && (tile->x[0] >= 0) &&
           (tile->x[TG_TILE - 1] + w->kernel_w <= w->in_w) && (tile->y[0] >= 0) &&
           (tile->y[0] + ((w->kernel_h - 1) * w->dilation_h) < w->in_h);
}

static inline bool tg_inside(const tg_window_t *w, int32_t y, int32_t x)
{
    return ((uint32_t)y < (uint32_t)w->in_h) && ((uint32_t)x < (uint32_t)w->in_w);
}

static inline const int8_t *tg_pixel(const tg_window_t *w, const int8_t *in, int32_t y, int32_t x)
{
    return in + ((ptrdiff_t)((y * w->in_w) + x) * w->in_c);
}

static inline void tg_columns_of_inner(const tg_window_t *w, const int8_t *in, const tg_tile_t *tile,
                                       tg_lane_t *columns)
{
    const int8_t *source[TG_TILE];
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        for (int32_t i = 0; i < TG_TILE; i++) {
            source[i] = tg_pixel(w, in, tile->y[i] + (ky * w->dilation_h), tile->x[i]);
        }
        columns = tg_core_expand(source, (w->kernel_w * w->in_c) / 4, columns);
    }
}

static inline void tg_columns_of_border(const tg_window_t *w, const int8_t *in, const tg_tile_t *tile,
                                        const int8_t *padding, tg_lane_t *columns)
{
    const int8_t *source[TG_TILE];
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            for (int32_t i = 0; i < TG_TILE; i++) {
                const int32_t y = tile->y[i] + (ky * w->dilation_h);
                const int32_t x = tile->x[i] + (kx * w->dilation_w);
                source[i] = tg_inside(w, y, x) ? tg_pixel(w, in, y, x) : padding;
            }
            columns = tg_core_expand(source, w->in_c / 4, columns);
        }
    }
}

/* One window's bytes, in the order of the weights. */
static inline void tg_gather(const tg_window_t *w, const int8_t *in, int32_t top, int32_t left,
                             int8_t zero_point, int8_t *to)
{
    const bool whole_rows = (w->dilation_w == 1) && (left >= 0) && ((left + w->kernel_w) <= w->in_w);
    const int32_t runs = whole_rows ? 1 : w->kernel_w; /* a row */
    const int32_t run = (w->kernel_w / runs) * w->in_c;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (ky * w->dilation_h);
        for (int32_t kx = 0; kx < runs; kx++) {
            const int32_t x = left + (kx * w->dilation_w);
            if (tg_inside(w, y, x)) {
                (void)memcpy(to, tg_pixel(w, in, y, x), (size_t)run);
            } else {
                (void)memset(to, zero_point, (size_t)run);
            }
            to += run;
        }
    }
}

/* Prepare the scratch for a layer, once before its tiles. */
static inline void tg_columns_begin(const tg_window_t *w, int8_t zero_point, void *scratch)
{
    int8_t *behind = (int8_t *)scratch + ((size_t)tg_positions(w) * TG_TILE * sizeof(tg_lane_t));
    const size_t bytes = (size_t)(((w->in_c % 4) == 0) ? w->in_c : (tg_positions(w) * TG_TILE));
    (void)memset(behind, zero_point, bytes);
}

static inline const tg_lane_t *tg_columns(const tg_window_t *w, int8_t zero_point, const int8_t *in,
                                          const tg_tile_t *tile, void *scratch)
{
    const int32_t positions = tg_positions(w);
    tg_lane_t *columns = scratch;
    int8_t *behind = (int8_t *)scratch + ((size_t)positions * TG_TILE * sizeof(tg_lane_t));
    if ((w->in_c % 4) != 0) {
        const int8_t *source[TG_TILE];
        for (int32_t i = 0; i < TG_TILE; i++) {
            int8_t *window = behind + (i * positions);
            tg_gather(w, in, tile->y[i], tile->x[i], zero_point, window);
            source[i] = window;
        }
        (void)tg_core_expand(source, positions / 4, columns);
    } else if (tg_tile_is_inner(w, tile)) {
        tg_columns_of_inner(w, in, tile, columns);
    } else {
        tg_columns_of_border(w, in, tile, behind, columns);
    }
    return columns;
}

#endif
