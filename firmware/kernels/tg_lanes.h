/* int8 layers on cores with vectors of bytes: convolutions over windows of bytes, and depthwise convolutions whose
 * channels are the lanes. Each header below implements
 *   tg_lanes_window   the channels of one pixel of a depthwise convolution. Tap t reads from x + at[t] on; the
 *                     number of taps is even, and weights are above -128, so that two products fit 16 bits
 *   tg_lanes_tile     the channels of a tile's first pixels; windows [TG_TILE][positions]
 * and both turn sums into int8 as tg_scale_narrow does. What they need for that lies in the order in which VMOVL
 * widens a vector of 16 bits: even channels, then odd ones.
 */
#ifndef TG_LANES_H
#define TG_LANES_H

#include "tg_kernels.h"

#if defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_lanes_m55.h"
#else
#include "tg_lanes_portable.h"
#endif

#endif
