/* Portable int8 and ternary kernels, byte for byte equal to TensorFlow Lite Micro's reference kernels.
 *
 * Tensors are row-major [height][width][channels] without a batch axis. Parameters are constants that the
 * generator computes; kernels hold no state and allocate nothing.
 *
 * Ternary weights are trits in {-1, 0, +1} times a magnitude per output channel. A trit is stored as trit + 1
 * in two bits, sixteen to a 32-bit word, element i in bits 2 * (i % 16) of word i / 16:
 *
 *     word 0   |31 30|29 28| ... | 3  2| 1  0|
 *              | t15 | t14 | ... |  t1 |  t0 |
 *
 * They are decoded in registers, one word at a time; no int8 copy of them ever exists.
 *
 * Overlap: the generator may place an output over an input that is not needed after the call, with the output
 * starting some bytes before the input. How many bytes follows from the order in which a kernel reads and
 * writes, which is therefore part of its interface (host/tritguard/graph/arena/access.py holds it as data,
 * and tests/test_memory.py runs each kernel at its limit):
 *   - Element by element (tg_add, tg_requantize, tg_lookup, the last pass of tg_softmax and tg_log_softmax, tg_mean
 *     by channel): in rising order; an element is read before it is written.
 *   - Windows by pixels (tg_conv2d_ternary, tg_depthwise_ternary, tg_depthwise_lanes, _channels, pools): output pixels in rows from the top.
 *     A pixel's input may be read until its last channel is written; after that nothing before the next one's
 *     window is read.
 *   - Windows by tiles (other convolutions; bands of rows over planes are tiles too): tiles of such pixels,
 *     of any width. All input of a tile is read before any of its output is written. With weights in base 3
 *     this holds only if all channels are one group; otherwise nothing is promised.
 *   - By channels (tg_depthwise_int8, _by1, _by2 and _taps): out may be in; each output row is written after the input
 *     rows at its place have been read.
 *   - tg_pad writes before it reads, so its output never overlaps.
 * Neither `restrict` nor memcpy from `in` to `out` is possible where they may overlap.
 */
#ifndef TG_KERNELS_H
#define TG_KERNELS_H

#include <stdint.h>

#define TG_TRITS_PER_WORD 16

/* What one layer of a chain does in one stripe (tg_model.c; host/tritguard/graph/arena/stripes.py makes the
 * tables). All fields count rows from the start of a tensor's memory: `kept` rows that are still needed move
 * to the front, over `dropped` others; then out_rows are computed from `to` on, from in_rows of each input
 * with pad_top above them. */
typedef struct {
    uint8_t from_a, from_b, in_rows, pad_top;
    uint8_t out_rows, to, kept, dropped;
} tg_stripe_t;

/* The step from an int32 accumulator to int8, per channel. narrow is set if the generator proved that
 * tg_scale_narrow (tg_fixed.h) gives the same bytes as tg_multiply for every input. */
typedef struct {
    const int32_t *multiplier;
    const int8_t *shift;
    int8_t zero_point;
    int8_t act_min;
    int8_t act_max;
    uint8_t narrow;
} tg_requant_t;

/* A rescaling from int32 to int32. */
typedef struct {
    int32_t multiplier;
    int32_t shift;
} tg_scale_t;

/* What convolutions of all kinds share: int8 or ternary weights, and the requantisation of their sums to
 * int8. For kernels that read columns (tg_columns.h) the bias includes minus zero point times the sum of
 * weights. */
typedef struct {
    const int8_t *weights;
    const uint32_t *trits;
    const uint8_t *magnitude;
    const int32_t *bias;
    int32_t in_zero_point;
    tg_requant_t requant;
} tg_weighted_t;

/* A window that slides over height and width. Padding counts rows above and columns left of the input. */
typedef struct {
    int32_t in_c, out_c;
    int16_t in_h, in_w;
    int16_t out_h, out_w;
    int16_t kernel_h, kernel_w;
    int16_t stride_h, stride_w;
    int16_t dilation_h, dilation_w;
    int16_t pad_top, pad_left;
} tg_window_t;

/* A convolution; a fully connected layer is one with a 1x1 kernel over a 1 x rows image.
 * Weights: int8 [out_c / 2][positions][2], interleaved as tg_core.h draws it, or trits
 * [out_c][kernel_h][kernel_w][in_c] with one guard word after the last. accumulators: NULL, or int32
 * [out_h][out_w][out_c] for the sums before requantisation (the logits). scratch: the columns, in the size
 * that tg_columns.h gives.
 */
typedef struct {
    tg_window_t window;
    tg_weighted_t layer;
} tg_conv2d_t;

void tg_conv2d_int8(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch);
void tg_conv2d_pixels(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch); /* windows of one pixel, strides of one */
void tg_conv2d_slim(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch); /* less scratch, more time */
void tg_conv2d_ternary(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators);

/* How one output channel's sum of trits becomes int8; channel is -1 for an unused lane. */
typedef struct {
    int32_t bias; /* minus magnitude * input zero point * sum of trits */
    int32_t multiplier;
    int16_t channel;
    uint8_t magnitude;
    int8_t shift;
} tg_trit_channel_t;

/* What all channels of such a layer share; see tg_requant_t for narrow. */
typedef struct {
    int8_t zero_point, act_min, act_max, narrow;
} tg_trit_scale_t;

/* A convolution with dual-channel words (tg_dual.h); a dense layer has a 1x1 window and one pixel per row.
 * tg_conv2d_dual takes lanes [pairs][2], the low and the high channel, and trits [pairs][words].
 * tg_dense_dual takes four pairs together: lanes [pairs / 4][2][4], trits [pairs / 4][words][4].
 * scratch: see tg_dual_sums.h. */
typedef struct {
    tg_window_t window;
    const uint32_t *trits;
    const tg_trit_channel_t *lanes;
    int32_t pairs;
    int32_t words, block_words, segment_words;
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_dual_t;

void tg_conv2d_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch);
void tg_dense_dual(const tg_dual_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch);

/* The same with trits in base 3 (tg_base3.h), decoded `group` pairs at a time; each group starts at a new
 * word. dual.trits is not used. scratch: decoded_bytes for the group's words, then what the kernel itself
 * needs. */
typedef struct {
    tg_dual_t dual;
    const uint32_t *packed;
    int32_t group;
    int32_t decoded_bytes;
} tg_dual_base3_t;

void tg_conv2d_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch);
void tg_dense_base3(const tg_dual_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch);

/* tg_conv2d_ternary for the one pixel of a dense layer, with trits in base 3 decoded `group` channels at a
 * time, each group with a guard word. ternary.layer.trits is not used. scratch: the group's words. */
typedef struct {
    tg_conv2d_t ternary;
    const uint32_t *packed;
    int32_t group;
} tg_ternary_base3_t;

void tg_ternary_base3(const tg_ternary_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch);

/* A fully connected layer over one vector: `units` sums of `depth` products. Weights are laid out as in a
 * convolution. `piece` is how many positions are widened at once, a multiple of four. scratch:
 * int16[piece], and where depth is more than that int32[units], rounded up to a multiple of four. */
typedef struct {
    int32_t depth, units;
    int32_t piece;
    tg_weighted_t layer;
} tg_dense_t;

void tg_dense_int8(const tg_dense_t *p, const int8_t *in, int8_t *out, int32_t *accumulators, void *scratch);

/* One axis of a sliding window. Steps count the elements between neighbours. Either axis of the image may
 * serve as the rows. */
typedef struct {
    int32_t in_step, out_step;
    int16_t in, out;
    int16_t kernel, stride, dilation;
    int16_t pad;
} tg_axis_t;

/* Depthwise convolution: output channel c reads input channel c / depth_multiplier.
 * Weights: int8 [channels * depth_multiplier][rows.kernel][columns.kernel]. band: the number of output rows
 * whose input is in the scratch at the same time (tg_planes.h). out may be in if both have the same shape
 * and the same steps along rows and columns.
 */
typedef struct {
    tg_axis_t rows, columns;
    int32_t channels;
    int32_t depth_multiplier;
    int32_t band;
    tg_weighted_t layer;
} tg_depthwise_t;

void tg_depthwise_int8(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch);

/* The same for columns with a stride of 1 or 2, where only int8 itself clamps, the scale is narrow and no
 * accumulators are asked for. */
void tg_depthwise_by1(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch);
void tg_depthwise_by2(const tg_depthwise_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                      void *scratch);

/* What eight channels need to turn sums into int8, the even ones first: channels 0 2 4 6 1 3 5 7 (tg_lanes.h). */
typedef struct {
    int32_t bias[8], multiplier[8];
    int8_t shift[8];
} tg_eight_t;

/* Convolutions for cores with vectors of bytes (tg_lanes.h). Weights: int8 [out_c][kernel_h][kernel_w][in_c]; of a
 * depthwise one int8 [groups of eight channels][taps][8] above -128, with zeros behind the last channel and, if the
 * number of taps is odd, behind the last tap. The scale is narrow, and accumulators is NULL. scratch: see the
 * kernels' files. */
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

/* A depthwise convolution with weights int8 [groups of four channels][taps][4], as tg_channels.h draws them. The scale is
 * narrow, and accumulators is NULL. scratch: see tg_depthwise_channels.c. */
typedef struct {
    tg_window_t window;
    tg_weighted_t layer;
} tg_depthwise_channels_t;

void tg_depthwise_channels(const tg_depthwise_channels_t *p, const int8_t *in, int8_t *out,
                           int32_t *accumulators, void *scratch);

/* A convolution whose trits such a core turns into bytes in registers (tg_trit_lanes.h). trits: [out_c][bytes]. The
 * scale is narrow, and accumulators is NULL. scratch: see tg_conv2d_trits.c. */
typedef struct {
    tg_window_t window;
    const uint8_t *trits;
    const tg_trit_channel_t *channels; /* [out_c], in their order */
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_conv2d_trits_t;

void tg_conv2d_trits(const tg_conv2d_trits_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch);

/* A depthwise convolution with trits [kernel_h][kernel_w][out_c], in which each row of out_c is padded to whole words. */
typedef struct {
    tg_window_t window;
    int32_t depth_multiplier;
    tg_weighted_t layer;
} tg_depthwise_ternary_t;

void tg_depthwise_ternary(const tg_depthwise_ternary_t *p, const int8_t *in, int8_t *out,
                          int32_t *accumulators);

/* A ternary dense layer over one vector by tables (tg_dense_fours.c). codes: [pieces][ceil(depth / 4)][piece], the last piece's
 * units rounded up to a multiple of four, as piece is one. The bias holds minus zero point times the sum of weights. */
typedef struct {
    int32_t depth, units, piece;
    const uint8_t *codes;
    tg_weighted_t layer;
} tg_dense_fours_t;

void tg_dense_fours(const tg_dense_fours_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch);

/* A convolution with sparse lists (tg_lists.h). scratch: see tg_conv2d_lists.c. */
typedef struct {
    tg_window_t window;
    const uint8_t *lists;
    const tg_trit_channel_t *channels;
    int32_t pitch, half, plane_words, unit_bytes;
    int32_t band_rows, band_input_rows;
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_conv2d_lists_t;

void tg_conv2d_lists(const tg_conv2d_lists_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch);

/* A convolution with lists of steps over planes (tg_taps.h); a channel's list is minus, plus, steps. scratch:
 * see tg_conv2d_steps.c. */
typedef struct {
    tg_window_t window;
    const uint8_t *lists;
    const tg_trit_channel_t *channels;
    int32_t pitch, plane_bytes, unit_bytes;
    int32_t band_rows, band_input_rows;
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_conv2d_steps_t;

void tg_conv2d_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch);

/* A depthwise convolution with lists of taps over planes (tg_taps.h). trits: [out_c][ceil(taps / 4)].
 * scratch: see tg_depthwise_taps.c. */
typedef struct {
    tg_window_t window;
    const uint8_t *trits;
    const tg_trit_channel_t *channels;
    const uint16_t *offsets; /* [taps] */
    int32_t taps, depth_multiplier;
    int32_t pitch, phase_bytes, plane_bytes;
    int32_t strip_rows, strip_positions;
    int32_t in_zero_point;
    tg_trit_scale_t scale;
} tg_depthwise_taps_t;

void tg_depthwise_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                       void *scratch);

/* a + b, both rescaled to a common scale with 20 bits of headroom. a is the operand with the greater scale,
 * so its factor is exactly 1/2. narrow is set if tg_scale_narrow fits the sum's scale. scratch: int32[256].
 * out may be a or b. */
typedef struct {
    int32_t size;
    int32_t zero_point_a, zero_point_b;
    tg_scale_t scale_b, scale_out;
    int32_t out_zero_point, act_min, act_max;
    int32_t narrow;
} tg_add_t;

void tg_add(const tg_add_t *p, const int8_t *a, const int8_t *b, int8_t *out, void *scratch);

/* Average and maximum pooling; both ignore padding. */
typedef struct {
    tg_window_t window;
    int32_t act_min, act_max;
} tg_pool_t;

void tg_average_pool(const tg_pool_t *p, const int8_t *in, int8_t *out);
void tg_max_pool(const tg_pool_t *p, const int8_t *in, int8_t *out);

/* The mean over positions (height * width); the scale includes the division. */
typedef struct {
    int32_t positions, channels;
    int32_t in_zero_point;
    tg_scale_t scale;
    int32_t out_zero_point;
} tg_mean_t;

void tg_mean(const tg_mean_t *p, const int8_t *in, int8_t *out);

/* Softmax over each row; the output has scale 1/256 and zero point -128. */
typedef struct {
    int32_t rows, depth;
    int32_t multiplier, left_shift;
    int32_t diff_min; /* if x minus the row's maximum is below this, exp counts as 0 */
} tg_softmax_t;

void tg_softmax(const tg_softmax_t *p, const int8_t *in, int8_t *out);

/* Constant padding of height, width and channels. */
typedef struct {
    int32_t in_h, in_w, in_c;
    int32_t out_h, out_w, out_c;
    int32_t before_h, before_w, before_c;
    int8_t value;
} tg_pad_t;

void tg_pad(const tg_pad_t *p, const int8_t *in, int8_t *out);

/* A change from one int8 scale to another. */
typedef struct {
    int32_t size;
    int32_t in_zero_point;
    tg_scale_t scale;
    int32_t out_zero_point;
} tg_requantize_t;

void tg_requantize(const tg_requantize_t *p, const int8_t *in, int8_t *out);

#endif
