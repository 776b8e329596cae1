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
    int32_t at[TG_TILE];    /* the windows' first elements */
    bool inner;             /* whether all windows lie inside the input, and their rows are runs of bytes */
    int32_t next_y, next_x; /* output coordinates of the pixel after the tile */
} tg_tile_t;

static inline void tg_tile_next(const tg_window_t *w, tg_tile_t *tile)
{
    const int32_t last_x = w->in_w - w->kernel_w;
    const int32_t last_y = w->in_h - 1 - ((w->kernel_h - 1) * w->dilation_h);
    const int32_t out_w = w->out_w;
    bool inner = (w->dilation_w == 1);
    int32_t next_x = tile->next_x;
    int32_t y = (tile->next_y * w->stride_h) - w->pad_top;
    for (int32_t i = 0; i < TG_TILE; i++) {
        const int32_t x = (next_x * w->stride_w) - w->pad_left;
        tile->y[i] = y;
        tile->x[i] = x;
        tile->at[i] = ((y * w->in_w) + x) * w->in_c;
        inner = inner && (x >= 0) && (x <= last_x) && (y >= 0) && (y <= last_y);
        if ((next_x + 1) < out_w) {
            next_x++;
        } else if ((tile->next_y + 1) < w->out_h) {
            next_x = 0;
            tile->next_y++;
            y += w->stride_h;
        } else {
            /* stay on the last pixel */
        }
    }
    tile->next_x = next_x;
    tile->inner = inner;
}

static inline int32_t tg_positions(const tg_window_t *w)
{
    return ((w->kernel_h * w->kernel_w * w->in_c) + 3) & ~3;
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

__attribute__((noinline, unused)) static int8_t *tg_copy(int8_t *to, const int8_t *from, int32_t count)
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
__attribute__((noinline, unused)) static void tg_gather(const tg_window_t *w, const int8_t *in, int32_t top,
                                                        int32_t left, int8_t zero_point, int8_t *to)
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

/* Copy the rows of a window that lies inside the input. All but the last are copied in whole words; the next row
 * overwrites what is too much. */
__attribute__((noinline, unused)) static void tg_copy_window(const int8_t *from, int32_t pitch, int32_t run,
                                                             int32_t rows, int8_t *to)
{
#if !defined(__ARM_ARCH) || defined(__ARM_FEATURE_UNALIGNED)
    for (; rows > 1; rows--) {
        const int8_t *end = from + run;
        const int8_t *x = from;
        int8_t *y = to;
        do {
            (void)memcpy(y, x, 4);
            x += 4;
            y += 4;
        } while (x < end);
        from += pitch;
        to += run;
    }
#endif
    for (; rows > 0; rows--) {
        to = tg_copy(to, from, run);
        from += pitch;
    }
}

/* Fill columns from windows inside the input, whose rows are runs of whole words. */
static inline void tg_columns_of_runs(const tg_window_t *w, const int8_t *in, const tg_tile_t *tile,
                                      tg_lane_t *columns)
{
    const int32_t words = w->kernel_w * w->in_c / 4;
    const int32_t pitch = w->dilation_h * w->in_w * w->in_c;
    const int8_t *source[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        source[i] = in + tile->at[i];
    }
    for (int32_t ky = w->kernel_h; ky > 0; ky--) {
        columns = tg_core_expand(source, words, columns);
        for (int32_t i = 0; i < TG_TILE; i++) {
            source[i] += pitch;
        }
    }
}

/* Fill columns by way of windows in scratch. */
static inline void tg_columns_of_windows(const tg_window_t *w, int8_t zero_point, const int8_t *in,
                                         const tg_tile_t *tile, int8_t *windows, tg_lane_t *columns)
{
    const int32_t positions = tg_positions(w);
    const int8_t *source[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        source[i] = windows;
        if (tile->inner) {
            tg_copy_window(in + tile->at[i], w->dilation_h * w->in_w * w->in_c, w->kernel_w * w->in_c,
                           w->kernel_h, windows);
        } else {
            tg_gather(w, in, tile->y[i], tile->x[i], zero_point, windows);
        }
        windows += positions;
    }
    (void)tg_core_expand(source, positions / 4, columns);
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
    tg_lane_t *columns = scratch;
    int8_t *behind = (int8_t *)scratch + ((size_t)tg_positions(w) * TG_TILE * sizeof(tg_lane_t));
    if ((w->in_c % 4) != 0) {
        tg_columns_of_windows(w, zero_point, in, tile, behind, columns);
    } else if (tile->inner) {
        tg_columns_of_runs(w, in, tile, columns);
    } else {
        tg_columns_of_taps(w, in, tile, behind, columns);
    }
    return columns;
}

#endif
