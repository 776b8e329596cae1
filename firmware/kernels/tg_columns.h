/* Gathers the windows of a tile's pixels from the image into columns, with padding filled by the zero point.
 *
 * Padding that holds the zero point contributes nothing once the zero point is folded into the bias (bias
 * minus zero point times the sum of weights), so the loops over columns need to know neither of them.
 *
 * Scratch: columns, int16[positions * TG_TILE], then the bytes of one padding position, int8[in_c], where
 * in_c is a multiple of four; otherwise one gathered window per pixel, int8[TG_TILE][positions]. positions
 * is kernel_h * kernel_w * in_c, rounded up to a multiple of four.
 */
#ifndef TG_COLUMNS_H
#define TG_COLUMNS_H

#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Where the windows of a tile's pixels start in the input, which may be outside it. Pixels after the image's
 * last one repeat the last one. */
typedef struct {
    int32_t y[TG_TILE];
    int32_t x[TG_TILE];
    int32_t next_y, next_x; /* output coordinates of the pixel after the tile */
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
            /* stay on the last pixel */
        }
    }
}

static inline int32_t tg_positions(const tg_window_t *w)
{
    return ((w->kernel_h * w->kernel_w * w->in_c) + 3) & ~3;
}

static inline bool tg_tile_is_inner(const tg_window_t *w, const tg_tile_t *tile)
{
    const int32_t last_x = w->in_w - w->kernel_w;
    const int32_t last_y = w->in_h - ((w->kernel_h - 1) * w->dilation_h) - 1;
    bool inner = (w->dilation_w == 1);
    for (int32_t i = 0; i < TG_TILE; i++) {
        inner = inner && (tile->x[i] >= 0) && (tile->x[i] <= last_x) && (tile->y[i] >= 0) &&
                (tile->y[i] <= last_y);
    }
    return inner;
}

/* Row y of the input, or NULL if it is padding. */
static inline const int8_t *tg_row(const tg_window_t *w, const int8_t *in, int32_t y)
{
    return ((uint32_t)y < (uint32_t)w->in_h) ? (in + ((ptrdiff_t)y * w->in_w * w->in_c)) : NULL;
}

/* Fill columns directly from the input, one tap after the other; in_c is a multiple of four. */
static inline void tg_columns_of_taps(const tg_window_t *w, const int8_t *in, const tg_tile_t *tile,
                                      const int8_t *padding, tg_lane_t *columns)
{
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int8_t *row[TG_TILE];
        for (int32_t i = 0; i < TG_TILE; i++) {
            row[i] = tg_row(w, in, tile->y[i] + (ky * w->dilation_h));
        }
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const int8_t *source[TG_TILE];
            for (int32_t i = 0; i < TG_TILE; i++) {
                const int32_t x = tile->x[i] + (kx * w->dilation_w);
                const bool inside = (row[i] != NULL) && ((uint32_t)x < (uint32_t)w->in_w);
                source[i] = inside ? (row[i] + (x * w->in_c)) : padding;
            }
            columns = tg_core_expand(source, w->in_c / 4, columns);
        }
    }
}

static inline int8_t *tg_copy(int8_t *to, const int8_t *from, int32_t count)
{
    tg_core_copy(to, from, count);
    return to + count;
}

static inline int8_t *tg_repeat(int8_t *to, int8_t value, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        to[i] = value;
    }
    return to + count;
}

/* Copy one window's bytes in the order of the weights. */
static inline void tg_gather(const tg_window_t *w, const int8_t *in, int32_t top, int32_t left,
                             int8_t zero_point, int8_t *to)
{
    const int32_t taps = (w->dilation_w == 1) ? w->kernel_w : 1;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int8_t *row = tg_row(w, in, top + (ky * w->dilation_h));
        for (int32_t kx = 0; kx < w->kernel_w; kx += taps) {
            const int32_t x = left + (kx * w->dilation_w);
            const int32_t before = (row == NULL) ? taps : tg_min(tg_max(-x, 0), taps);
            const int32_t inside = tg_max(tg_min(taps, w->in_w - x) - before, 0);
            to = tg_repeat(to, zero_point, before * w->in_c);
            if (inside > 0) {
                to = tg_copy(to, row + ((x + before) * w->in_c), inside * w->in_c);
            }
            to = tg_repeat(to, zero_point, (taps - before - inside) * w->in_c);
        }
    }
}

/* In windows without padding every kernel row is one run of bytes. Runs of whole words go directly to the
 * columns, others first to gathered windows, which are `positions` apart. */
static inline void tg_columns_of_runs(const tg_window_t *w, const int8_t *in, const tg_tile_t *tile,
                                      int8_t *windows, tg_lane_t *columns)
{
    const int32_t run = w->kernel_w * w->in_c;
    const int32_t pitch = w->dilation_h * w->in_w * w->in_c;
    const int32_t positions = tg_positions(w);
    const int8_t *source[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        source[i] = in + ((ptrdiff_t)((tile->y[i] * w->in_w) + tile->x[i]) * w->in_c);
    }
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        if ((w->in_c % 4) == 0) {
            columns = tg_core_expand(source, run / 4, columns);
        } else {
            for (int32_t i = 0; i < TG_TILE; i++) {
                (void)tg_copy(windows + (i * positions), source[i], run);
            }
            windows += run;
        }
        for (int32_t i = 0; i < TG_TILE; i++) {
            source[i] += pitch;
        }
    }
}

/* Prepare the scratch of a layer once, before its tiles. */
static inline void tg_columns_begin(const tg_window_t *w, int8_t zero_point, void *scratch)
{
    int8_t *behind = (int8_t *)scratch + ((size_t)tg_positions(w) * TG_TILE * sizeof(tg_lane_t));
    const int32_t bytes = ((w->in_c % 4) == 0) ? w->in_c : (tg_positions(w) * TG_TILE);
    (void)tg_repeat(behind, zero_point, bytes);
}

static inline const tg_lane_t *tg_columns(const tg_window_t *w, int8_t zero_point, const int8_t *in,
                                          const tg_tile_t *tile, void *scratch)
{
    const int32_t positions = tg_positions(w);
    const bool words = ((w->in_c % 4) == 0);
    const bool inner = tg_tile_is_inner(w, tile);
    tg_lane_t *columns = scratch;
    int8_t *behind = (int8_t *)scratch + ((size_t)positions * TG_TILE * sizeof(tg_lane_t));
    const int8_t *windows[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        windows[i] = behind + (i * positions);
        if (!words && !inner) {
            tg_gather(w, in, tile->y[i], tile->x[i], zero_point, behind + (i * positions));
        }
    }
    if (inner) {
        tg_columns_of_runs(w, in, tile, behind, columns);
    } else if (words) {
        tg_columns_of_taps(w, in, tile, behind, columns);
    } else {
        /* the runs have been gathered into windows */
    }
    if (!words) {
        (void)tg_core_expand(windows, positions / 4, columns);
    }
    return columns;
}

#endif
