/* int8 layers on cores with vectors of bytes: convolutions over windows of bytes, and depthwise convolutions whose
 * channels are the lanes.
 *
 * What channels need is stored for eight of them together, the even ones first, which is the order in which VMOVL
 * widens a vector of 16 bits:
 *
 *     bias, multiplier, shift of channels 0 2 4 6 1 3 5 7
 *
 * Each header below implements
 *   tg_lanes_window   the channels of one pixel of a depthwise convolution. Tap t reads from x + at[t] on; the
 *                     number of taps is even, and weights are above -128, so that two products fit 16 bits
 *   tg_lanes_tile     the channels of a tile's first pixels; windows [TG_TILE][positions]
 * and both turn sums into int8 as tg_scale_narrow does.
 */
#ifndef TG_LANES_H
#define TG_LANES_H

#include "tg_kernels.h"

typedef struct {
    int32_t bias[8], multiplier[8];
    int8_t shift[8];
} tg_eight_t;

/* Weights: for a convolution int8 [out_c][kernel_h][kernel_w][in_c]; for a depthwise one int8 [groups of eight
 * channels][taps][8], with zeros behind the last channel and, if the number of taps is odd, behind the last tap.
 * The scale is narrow, and no accumulators are asked for. A convolution reads all input of a tile of pixels before
 * it writes any of its output; a depthwise one may read a pixel's input until its last channel is written. scratch:
 * see the kernels' files. */
typedef struct {
    tg_window_t window;
    const int8_t *weights;
    const tg_eight_t *channels;
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_by_lanes_t;

void tg_conv2d_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch);
void tg_depthwise_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                        void *scratch);

#endif
