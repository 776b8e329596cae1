/* Transposed convolutions of int16 activations with int8 weights. */
#ifndef TG_WIDE_TRANSPOSE_CONV_H
#define TG_WIDE_TRANSPOSE_CONV_H

#include "tg_kernels.h"
#include "tg_wide_layer.h"

#include <stdint.h>

/* Weights [out_c][kernel_h][kernel_w][in_c]; input pixel y reaches rows y * stride - pad_top and on of the output. */
typedef struct {
    tg_window_t window;
    tg_wide_layer_t layer;
} tg_wide_transpose_conv_t;

void tg_wide_transpose_conv(const tg_wide_transpose_conv_t *p, const void *in, void *out);

#endif
