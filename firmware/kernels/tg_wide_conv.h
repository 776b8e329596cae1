/* Convolutions of int16 activations with int8 weights. */
#ifndef TG_WIDE_CONV_H
#define TG_WIDE_CONV_H

#include "tg_kernels.h"
#include "tg_wide_layer.h"

#include <stdint.h>

/* Weights [out_c][kernel_h][kernel_w][depth]: an output channel sees depth input channels, and group channels one after
 * the other see the same ones. A depthwise convolution has a depth of one; a fully connected layer is a window of one
 * pixel over a 1 x rows image. in and out are int16 and never overlap. */
typedef struct {
    tg_window_t window;
    int32_t depth, group;
    tg_wide_layer_t layer;
} tg_wide_conv_t;

void tg_wide_conv(const tg_wide_conv_t *p, const void *in, void *out);

#endif
