/* Transposed convolution. */
#ifndef TG_TRANSPOSE_CONV_H
#define TG_TRANSPOSE_CONV_H

#include "tg_kernels.h"

/* Input row y reaches output rows y * stride_h - pad_top + [0, kernel_h), and so for columns. No dilation.
 * Weights: int8 [out_c][kernel_h][kernel_w][in_c]. */
typedef struct {
    tg_window_t window;
    tg_weighted_t layer;
} tg_transpose_conv_t;

void tg_transpose_conv(const tg_transpose_conv_t *p, const int8_t *in, int8_t *out);

#endif
