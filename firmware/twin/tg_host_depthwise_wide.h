/* Depthwise convolution with vectors of bytes. Lanes are channels, and four rows of a column lie in a word:
 *
 *     packed weights   [blocks of TG_WIDE channels][fours of rows][columns of the kernel][TG_WIDE][4]
 *     inputs           [fours of rows][columns][TG_WIDE][4], for one row of outputs
 *
 * A word of inputs is made once and then multiplied by each column of the kernel.
 */
#ifndef TG_HOST_DEPTHWISE_WIDE_H
#define TG_HOST_DEPTHWISE_WIDE_H

#include "tg_host_wide.h"

typedef uint32_t tg_wide_bits_t __attribute__((vector_size(TG_WIDE * 4)));

static inline const tg_wide_scale_t *tg_wide_taps(const tg_depthwise_t *p)
{
    const int32_t blocks = (p->channels + TG_WIDE - 1) / TG_WIDE;
    const int32_t width = p->columns.kernel;
    const int32_t taps = p->rows.kernel * width;
    const int32_t words = ((p->rows.kernel + 3) / 4) * width;
    const size_t bytes = (size_t)blocks * (sizeof(tg_wide_scale_t) + ((size_t)words * sizeof(tg_wide_t)));
    bool fresh;
    tg_wide_scale_t *scales = twin_kept(tg_wide_key(&p->layer), bytes, &fresh);
    if (!fresh) {
        return scales;
    }
    int8_t *to = (int8_t *)(void *)(scales + blocks);
    (void)memset(to, 0, (size_t)(blocks * words) * sizeof(tg_wide_t));
    for (int32_t block = 0; block < blocks; block++) {
        for (int32_t lane = 0; (lane < TG_WIDE) && (((block * TG_WIDE) + lane) < p->channels); lane++) {
            const int8_t *from = p->layer.weights + ((ptrdiff_t)((block * TG_WIDE) + lane) * taps);
            for (int32_t tap = 0; tap < taps; tap++) {
                const int32_t row = tap / width;
                const int32_t word = ((row / 4) * width) + (tap % width);
                to[(4 * ((word * TG_WIDE) + lane)) + (row & 3)] = from[tap];
            }
        }
        tg_wide_scale(&p->layer, block * TG_WIDE, p->channels, (const tg_wide_t *)(const void *)to, words,
                      scales + block);
        to += words * (ptrdiff_t)sizeof(tg_wide_t);
    }
    return scales;
}

/* The bytes of TG_WIDE channels, each as a word. */
static inline tg_wide_bits_t tg_wide_channels(const uint8_t *from)
{
    tg_wide_bits_t words;
    __asm("vpmovzxbd %1, %0" : "=v"(words) : "m"(*(const uint8_t(*)[TG_WIDE])from));
    return words;
}

/* Join up to four rows that are `dilated` bytes apart. */
static inline void tg_wide_join(const uint8_t *from, ptrdiff_t dilated, int32_t rows, int32_t columns,
                                int32_t channels, tg_wide_t *words)
{
    for (int32_t x = 0; x < columns; x++) {
        tg_wide_bits_t word = tg_wide_channels(from);
        if (rows > 1) {
            word |= tg_wide_channels(from + dilated) << 8;
        }
        if (rows > 2) {
            word |= tg_wide_channels(from + (2 * dilated)) << 16;
        }
        if (rows > 3) {
            word |= tg_wide_channels(from + (3 * dilated)) << 24;
        }
        words[x] = (tg_wide_t)word;
        from += channels;
    }
}

/* Compute one row of outputs of a block; `fours` and `width` are constants where the kernel is a common one. */
__attribute__((always_inline)) static inline void
tg_wide_depthwise_row(const tg_depthwise_t *p, const tg_wide_t *words, int32_t all, const tg_wide_t *weights,
                      const tg_wide_scale_t *scale, int32_t count, int8_t *out, const int32_t fours,
                      const int32_t width)
{
    const tg_wide_scale_t own = *scale;
    const tg_wide_limits_t limits = tg_wide_limits(&p->layer.requant);
    const int32_t gap = p->columns.dilation;
    const int32_t stride = p->columns.stride;
    const int32_t step = p->columns.out_step;
    for (int32_t x = 0; x < p->columns.out; x++) {
        tg_wide_t sums = own.bias;
        for (int32_t four = 0; four < fours; four++) {
            for (int32_t kx = 0; kx < width; kx++) {
                sums = tg_wide_multiply_add(sums, words[(four * all) + (kx * gap)],
                                            weights[(four * width) + kx]);
            }
        }
        words += stride;
        tg_wide_store(tg_wide_scaled(sums, &own), limits, count, out);
        out += step;
    }
}

static inline bool tg_wide_depthwise(const tg_depthwise_t *p, const int8_t *in, int8_t *out)
{
    if ((p->layer.requant.narrow == 0) || (p->depth_multiplier != 1) || (twin_inferences() == 0u)) {
        return false;
    }
    const tg_wide_scale_t *scales = tg_wide_taps(p);
    const int32_t blocks = (p->channels + TG_WIDE - 1) / TG_WIDE;
    const tg_wide_t *weights = (const tg_wide_t *)(const void *)(scales + blocks);
    const tg_axis_t *r = &p->rows;
    const tg_axis_t *c = &p->columns;
    const tg_wide_axis_t rows = tg_wide_axis(r->out, r->in, r->pad, r->kernel, r->stride, r->dilation);
    const tg_wide_axis_t columns = tg_wide_axis(c->out, c->in, c->pad, c->kernel, c->stride, c->dilation);
    const int32_t fours = (r->kernel + 3) / 4;
    const ptrdiff_t pitch = (ptrdiff_t)columns.all * p->channels;
    tg_wide_t *words = twin_scratch(((size_t)(fours * columns.all) * sizeof *words) +
                                    ((size_t)rows.all * (size_t)pitch) + TG_SLACK);
    uint8_t *image = (uint8_t *)(void *)(words + (fours * columns.all));
    tg_wide_image(rows, columns, p->channels, r->in_step, c->in_step, p->layer.in_zero_point, in, image);
    for (int32_t block = 0; block < blocks; block++) {
        const int32_t first = block * TG_WIDE;
        for (int32_t y = 0; y < r->out; y++) {
            const uint8_t *from = image + (y * r->stride * pitch) + first;
            int8_t *to = out + ((ptrdiff_t)y * r->out_step) + first;
            for (int32_t four = 0; four < fours; four++) {
                tg_wide_join(from + (4 * four * r->dilation * pitch), r->dilation * pitch,
                             r->kernel - (4 * four), columns.all, p->channels, words + (four * columns.all));
            }
            if ((fours == 1) && (c->kernel == 3)) {
                tg_wide_depthwise_row(p, words, columns.all, weights, scales + block, p->channels - first, to,
                                      1, 3);
            } else {
                tg_wide_depthwise_row(p, words, columns.all, weights, scales + block, p->channels - first, to,
                                      fours, c->kernel);
            }
        }
        weights += fours * c->kernel;
    }
    return true;
}

#endif
