/* Layers that the host computes its own way: by vectors of bytes, from weights in another order than the model's C has them.
 * Each function says whether it did; if not, the kernel goes its device's way. They are compiled once, apart from the
 * kernels.
 */
#ifndef TG_HOST_LAYERS_H
#define TG_HOST_LAYERS_H

#include "tg_kernels.h"

#include <stdbool.h>

/* A dense layer as a convolution of one pixel. */
static inline tg_window_t tg_dense_window(int32_t depth, int32_t units)
{
    return (tg_window_t){.in_c = depth,
                         .out_c = units,
                         .in_h = 1,
                         .in_w = 1,
                         .out_h = 1,
                         .out_w = 1,
                         .kernel_h = 1,
                         .kernel_w = 1,
                         .stride_h = 1,
                         .stride_w = 1,
                         .dilation_h = 1,
                         .dilation_w = 1};
}

bool tg_core_convolution(const tg_window_t *w, const tg_weighted_t *layer, const int8_t *in, int8_t *out,
                         int32_t *accumulators);
bool tg_core_dense(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_depthwise(const tg_depthwise_t *p, const int8_t *in, int8_t *out);
bool tg_core_depthwise_channels(const tg_depthwise_channels_t *p, const int8_t *in, int8_t *out);

/* A convolution whose weights are int8 [out_c][row], each row a channel's kernel_h * kernel_w * in_c and any bytes. */
bool tg_core_convolution_rows(const tg_window_t *w, const tg_weighted_t *layer, int32_t row, const int8_t *in,
                              int8_t *out, int32_t *accumulators);

/* Layers of cores with vectors of bytes (tg_lanes.h). */
bool tg_core_convolution_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out);
bool tg_core_depthwise_lanes(const tg_by_lanes_t *p, const int8_t *in, int8_t *out);

/* Ternary layers. `together` is the number of pairs of channels whose words lie side by side: 1 or 4; scratch
 * is that of the device's kernel. */
bool tg_core_dual(const tg_dual_t *p, int32_t together, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_dual_base3(const tg_dual_base3_t *p, int32_t together, const int8_t *in, int8_t *out,
                        int32_t *accumulators, void *scratch);
bool tg_core_two_bits(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_two_bits_base3(const tg_ternary_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                            void *scratch);
bool tg_core_fours(const tg_dense_fours_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_trits(const tg_conv2d_trits_t *p, const int8_t *in, int8_t *out);
bool tg_core_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_lists(const tg_conv2d_lists_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);
bool tg_core_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, const int32_t *accumulators);
bool tg_core_depthwise_two_bits(const tg_depthwise_ternary_t *p, const int8_t *in, int8_t *out,
                                const int32_t *accumulators);

#endif
