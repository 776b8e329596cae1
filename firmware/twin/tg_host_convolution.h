/* Convolutions and dense layers with vectors of bytes. Lanes are channels, and four positions of a window lie in a word:
 *
 *     packed weights   [blocks of TG_WIDE channels][runs][words of a run][TG_WIDE][4]
 *
 * A run is what lies side by side in the copied image: a row of the window or, where columns are dilated, a pixel. Behind a
 * run that is no whole number of words weights are zero. Every word of weights meets TG_PIXELS outputs.
 */
#ifndef TG_HOST_CONVOLUTION_H
#define TG_HOST_CONVOLUTION_H

#include "tg_host_wide.h"

#define TG_PIXELS 8 /* outputs that are computed together */

typedef struct {
    int32_t runs, run, words; /* a run's bytes and words */
} tg_wide_runs_t;

/* One row of outputs. */
typedef struct {
    tg_wide_limits_t limits;
    const tg_wide_scale_t *scale;
    const int8_t *weights;
    const int32_t *at; /* [runs]: where they start */
    tg_wide_runs_t runs;
    int32_t step; /* from the input of an output to that of the next */
    int32_t channels;
} tg_wide_row_t;

/* Where outputs go, and the sums of a layer that gives the logits. */
typedef struct {
    int8_t *out;
    int32_t *sums; /* or NULL */
} tg_wide_sink_t;

static inline tg_wide_sink_t tg_wide_at(tg_wide_sink_t sink, ptrdiff_t element)
{
    return (tg_wide_sink_t){sink.out + element, (sink.sums == NULL) ? NULL : (sink.sums + element)};
}

static inline tg_wide_runs_t tg_wide_runs(const tg_window_t *w)
{
    const int32_t taps = w->kernel_h * w->kernel_w;
    tg_wide_runs_t runs = {.runs = taps, .run = w->in_c};
    if ((w->dilation_w == 1) || (w->kernel_w == 1)) {
        runs.runs = w->kernel_h;
        runs.run *= w->kernel_w;
    }
    if ((runs.runs == w->kernel_h) && (w->out_w == 1) &&
        (w->dilation_h == 1)) { /* rows of the copy are runs */
        runs.run *= runs.runs;
        runs.runs = 1;
    }
    runs.words = (runs.run + 3) / 4;
    return runs;
}

/* Four weights of a channel, from position k on; those of tg_conv2d_t lie interleaved (tg_core.h). */
static inline uint32_t tg_wide_weights(const int8_t *weights, int32_t positions, int32_t channel, int32_t k,
                                       int32_t count)
{
    const int8_t *pair = weights + ((ptrdiff_t)(channel & ~1) * positions) + (channel & 1);
    uint32_t word = 0;
    if (((k & 3) == 0) && (count >= 4)) {
        const uint8_t *four = (const uint8_t *)pair + (2 * k);
        return four[0] | ((uint32_t)four[4] << 8) | ((uint32_t)four[2] << 16) | ((uint32_t)four[6] << 24);
    }
    for (int32_t i = 0; (i < 4) && (i < count); i++) {
        static const int8_t order[4] = {0, 4, 2, 6};
        word |= (uint32_t)(uint8_t)pair[(2 * ((k + i) & ~3)) + order[(k + i) & 3]] << (8 * i);
    }
    return word;
}

/* Pack a block where runs are whole words: a group of four positions of two channels is shuffled at once. */
static inline void tg_wide_pack_groups(const int8_t *from, int32_t pairs, int32_t groups, uint32_t *to)
{
    typedef int8_t bytes_t __attribute__((vector_size(16)));
    for (int32_t pair = 0; pair < pairs; pair++) {
        uint32_t *lanes = to + (2 * pair);
        int32_t group = 0;
        for (; (group + 2) <= groups; group += 2) {
            bytes_t two;
            (void)memcpy(&two, from, sizeof two);
            two = __builtin_shufflevector(two, two, 0, 4, 2, 6, 1, 5, 3, 7, 8, 12, 10, 14, 9, 13, 11, 15);
            (void)memcpy(lanes, &two, 8);
            (void)memcpy(lanes + TG_WIDE, (const int8_t *)&two + 8, 8);
            lanes += 2 * TG_WIDE;
            from += 16;
        }
        for (; group < groups; group++) {
            lanes[0] = tg_wide_weights(from, 4, 0, 0, 4);
            lanes[1] = tg_wide_weights(from, 4, 1, 0, 4);
            lanes += TG_WIDE;
            from += 8;
        }
    }
}

/* The same of weights whose channels are rows, `from` in a channel's. */
static inline uint32_t tg_wide_row_weights(const int8_t *from, int32_t count)
{
    uint32_t word = 0;
    if (count >= 4) {
        (void)memcpy(&word, from, sizeof word);
    } else {
        (void)memcpy(&word, from, (size_t)count);
    }
    return word;
}

/* The scales of all blocks, then their weights. A channel's weights are rows of `row` bytes, or 0: they lie interleaved. */
static inline const tg_wide_scale_t *tg_wide_packed(const tg_window_t *w, const tg_weighted_t *layer,
                                                    int32_t row, tg_wide_runs_t runs)
{
    const int32_t blocks = (w->out_c + TG_WIDE - 1) / TG_WIDE;
    const int32_t words = runs.runs * runs.words;
    const int32_t positions = ((runs.runs * runs.run) + 3) & ~3;
    const size_t bytes = (size_t)blocks * (sizeof(tg_wide_scale_t) + ((size_t)words * sizeof(tg_wide_t)));
    bool fresh;
    tg_wide_scale_t *scales = twin_kept(tg_wide_key(layer), bytes, &fresh);
    if (!fresh) {
        return scales;
    }
    tg_wide_t *packed = (tg_wide_t *)(void *)(scales + blocks);
    for (int32_t block = 0; block < blocks; block++) {
        const int32_t first = block * TG_WIDE;
        const int32_t channels = tg_min(TG_WIDE, w->out_c - first);
        uint32_t *to = (uint32_t *)(void *)packed;
        if (channels < TG_WIDE) {
            (void)memset(to, 0, (size_t)words * sizeof *packed);
        }
        if (row != 0) {
            const int8_t *from = layer->weights + ((ptrdiff_t)first * row);
            for (int32_t k = 0; k < (runs.runs * runs.run); k += runs.run) {
                for (int32_t word = 0; word < runs.run; word += 4) {
                    for (int32_t lane = 0; lane < channels; lane++) {
                        to[lane] =
                            tg_wide_row_weights(from + ((ptrdiff_t)lane * row) + k + word, runs.run - word);
                    }
                    to += TG_WIDE;
                }
            }
        } else if ((runs.run % 4) == 0) {
            tg_wide_pack_groups(layer->weights + ((ptrdiff_t)first * positions), (channels + 1) / 2, words,
                                to);
        } else {
            for (int32_t k = 0; k < (runs.runs * runs.run); k += runs.run) {
                for (int32_t word = 0; word < runs.run; word += 4) {
                    for (int32_t lane = 0; lane < channels; lane++) {
                        to[lane] = tg_wide_weights(layer->weights, positions, first + lane, k + word,
                                                   runs.run - word);
                    }
                    to += TG_WIDE;
                }
            }
        }
        tg_wide_scale(layer, first, w->out_c, packed, words, scales + block);
        packed += words;
    }
    return scales;
}

static inline void tg_wide_keep(tg_wide_t sums, int32_t count, int32_t *to)
{
#if TG_WIDE == 16
    const uint16_t mask = (uint16_t)((1u << (uint32_t)tg_min(TG_WIDE, count)) - 1u);
    __asm("vmovdqu32 %1, %0%{%2%}" : "+m"(*(int32_t(*)[TG_WIDE])to) : "v"(sums), "Yk"(mask));
#else
    for (int32_t i = 0; (i < TG_WIDE) && (i < count); i++) {
        to[i] = sums[i];
    }
#endif
}

/* Compute `blocks` blocks of channels of `pixels` outputs; both are constants where this is inlined. */
__attribute__((always_inline)) static inline void tg_wide_pixels(const tg_wide_row_t *row, int32_t block,
                                                                 const uint8_t *x, tg_wide_sink_t sink,
                                                                 const int32_t pixels, const int32_t blocks)
{
    const ptrdiff_t step = row->step;
    const tg_wide_limits_t limits = row->limits;
    const ptrdiff_t all = (ptrdiff_t)(row->runs.runs * row->runs.words) * (ptrdiff_t)sizeof(tg_wide_t);
    const int8_t *weights = row->weights + (block * all);
    tg_wide_t sums[TG_PIXELS][4];
#pragma GCC unroll 8
    for (int32_t i = 0; i < pixels; i++) {
#pragma GCC unroll 4
        for (int32_t b = 0; b < blocks; b++) {
            sums[i][b] = row->scale[block + b].bias;
        }
    }
    for (int32_t run = 0; run < row->runs.runs; run++) {
        const uint8_t *from = x + row->at[run];
        for (int32_t word = 0; word < row->runs.words; word++) {
            tg_wide_t w[4];
#pragma GCC unroll 4
            for (int32_t b = 0; b < blocks; b++) {
                w[b] = tg_wide_load(weights + (b * all));
            }
#pragma GCC unroll 8
            for (int32_t i = 0; i < pixels; i++) {
                const tg_wide_t four = tg_wide_all(from + (i * step));
#pragma GCC unroll 4
                for (int32_t b = 0; b < blocks; b++) {
                    sums[i][b] = tg_wide_multiply_add(sums[i][b], four, w[b]);
                }
            }
            from += 4;
            weights += sizeof(tg_wide_t);
        }
    }
#pragma GCC unroll 4
    for (int32_t b = 0; b < blocks; b++) {
        const int32_t first = (block + b) * TG_WIDE;
        const tg_wide_scale_t scale = row->scale[block + b];
#pragma GCC unroll 8
        for (int32_t i = 0; i < pixels; i++) {
            const ptrdiff_t element = ((ptrdiff_t)i * row->channels) + first;
            tg_wide_store(tg_wide_scaled(sums[i][b], &scale), limits, row->channels - first,
                          sink.out + element);
            if (sink.sums != NULL) {
                tg_wide_keep(sums[i][b], row->channels - first, sink.sums + element);
            }
        }
    }
}

/* All channels of some neighbouring outputs. */
__attribute__((always_inline)) static inline void tg_wide_tile(const tg_wide_row_t *row, const uint8_t *x,
                                                               tg_wide_sink_t sink, int32_t first,
                                                               const int32_t pixels, const int32_t most)
{
    const int32_t blocks = (row->channels + TG_WIDE - 1) / TG_WIDE;
    int32_t block = 0;
    x += (ptrdiff_t)first * row->step;
    sink = tg_wide_at(sink, (ptrdiff_t)first * row->channels);
    for (; (most > 1) && ((block + most) <= blocks); block += most) {
        tg_wide_pixels(row, block, x, sink, pixels, most);
    }
    for (; block < blocks; block++) {
        tg_wide_pixels(row, block, x, sink, pixels, 1);
    }
}

/* A row's last tile begins early where it is too short, as outputs may be computed twice. Each kind of tile has one place here,
 * since compiling it takes most of the time of this file. */
static inline void tg_wide_outputs(const tg_wide_row_t *row, const uint8_t *x, tg_wide_sink_t sink,
                                   int32_t count)
{
    int32_t i = 0;
    for (; (count >= TG_PIXELS) && ((count - i) > 4); i += TG_PIXELS) {
        tg_wide_tile(row, x, sink, tg_min(i, count - TG_PIXELS), TG_PIXELS, 2);
    }
    for (; (count >= 4) && (i < count); i += 4) {
        tg_wide_tile(row, x, sink, tg_min(i, count - 4), 4, 2);
    }
    for (; i < count; i++) {
        tg_wide_tile(row, x, sink, i, 1, 4);
    }
}

static inline bool tg_wide_convolution(const tg_window_t *w, const tg_weighted_t *layer, int32_t row,
                                       const int8_t *in, int8_t *out, int32_t *accumulators)
{
    if ((layer->requant.narrow == 0) || (twin_inferences() == 0u)) {
        return false;
    }
    const tg_wide_runs_t runs = tg_wide_runs(w);
    const tg_wide_scale_t *scales = tg_wide_packed(w, layer, row, runs);
    const int32_t blocks = (w->out_c + TG_WIDE - 1) / TG_WIDE;
    const tg_wide_axis_t rows =
        tg_wide_axis(w->out_h, w->in_h, w->pad_top, w->kernel_h, w->stride_h, w->dilation_h);
    const tg_wide_axis_t columns =
        tg_wide_axis(w->out_w, w->in_w, w->pad_left, w->kernel_w, w->stride_w, w->dilation_w);
    const int32_t pitch = columns.all * w->in_c;
    const size_t bytes =
        ((size_t)runs.runs * sizeof(int32_t)) + (((size_t)rows.all * (size_t)pitch) + TG_SLACK);
    int32_t *at = twin_scratch(bytes);
    uint8_t *image = (uint8_t *)(void *)(at + runs.runs);
    tg_wide_image(rows, columns, w->in_c, (ptrdiff_t)w->in_w * w->in_c, w->in_c, layer->in_zero_point, in,
                  image);
    const int32_t across = tg_max(1, runs.runs / w->kernel_h);
    for (int32_t run = 0; run < runs.runs; run++) {
        at[run] = ((run / across) * w->dilation_h * pitch) + ((run % across) * w->dilation_w * w->in_c);
    }
    const tg_wide_row_t all = {.limits = tg_wide_limits(&layer->requant),
                               .scale = scales,
                               .weights = (const int8_t *)(const void *)(scales + blocks),
                               .at = at,
                               .runs = runs,
                               .step = w->stride_w * w->in_c,
                               .channels = w->out_c};
    const bool joined =
        (w->stride_h * columns.all) == (w->stride_w * w->out_w); /* rows go on in the next one */
    const int32_t count = joined ? (w->out_h * w->out_w) : w->out_w;
    for (int32_t y = 0; y < (joined ? 1 : w->out_h); y++) {
        tg_wide_outputs(&all, image + ((ptrdiff_t)y * w->stride_h * pitch),
                        tg_wide_at((tg_wide_sink_t){out, accumulators}, (ptrdiff_t)y * w->out_w * w->out_c),
                        count);
    }
    return true;
}

#endif
