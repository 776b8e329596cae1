/* Convolution of trits over windows of bytes. Scratch: int8 windows [TG_TILE][positions]. */
#include "tg_trit_lanes.h"
#include "tg_windows.h"

void tg_conv2d_trits(const tg_conv2d_trits_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_trits(p, in, out)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const int32_t positions = w->kernel_h * w->kernel_w * w->in_c;
    const int32_t pixels = w->out_h * w->out_w;
    tg_tile_t tile;
    tile.next_y = 0;
    tile.next_x = 0;
    (void)accumulators; /* no such layer gives the logits */
    for (int32_t pixel = 0; pixel < pixels; pixel += TG_TILE) {
        tg_tile_next(w, &tile);
        tg_windows(w, (int8_t)p->in_zero_point, in, &tile, positions, scratch);
        tg_trit_lanes_tile(p, scratch, positions, tg_min(TG_TILE, pixels - pixel), out);
        out += TG_TILE * w->out_c;
    }
}
