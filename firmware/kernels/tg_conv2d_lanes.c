/* Convolution over windows of bytes. Scratch: int8 windows [TG_TILE][positions]. */
#include "tg_columns.h"
#include "tg_lanes.h"

/* Copy the windows of a tile's pixels one after the other, in the order of the weights. */
static void gather(const tg_window_t *w, int8_t zero_point, const int8_t *in, const tg_tile_t *tile,
                   int32_t positions, int8_t *windows)
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

void tg_conv2d_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
    const tg_window_t *w = &p->window;
    const int32_t positions = w->kernel_h * w->kernel_w * w->in_c;
    const int32_t pixels = w->out_h * w->out_w;
    tg_tile_t tile;
    tile.next_y = 0;
    tile.next_x = 0;
    (void)accumulators; /* no such layer gives the logits */
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        tg_tile_next(w, &tile);
        gather(w, (int8_t)p->in_zero_point, in, &tile, positions, scratch);
        tg_lanes_tile(p, scratch, positions, tg_min(TG_TILE, pixels - pixel), out);
        out += TG_TILE * w->out_c;
    }
}
