/* Vectors of bytes that are multiplied four at a time: VPDPBUSD, of AVX-512 VNNI on 512 bits and of AVX-VNNI on 256. Its one
 * operand is unsigned, so inputs are taken as x + 128, and the bias of a channel is less 128 times the sum of its weights.
 *
 * What layers need in another order than the model's C has it, weights above all, is packed at a layer's first call in
 * twin_run and kept until that ends (twin_kept).
 */
#ifndef TG_HOST_WIDE_H
#define TG_HOST_WIDE_H

#include "tg_fixed.h"
#include "tg_kernels.h"
#include "twin.h"

#include <stdbool.h>
#include <string.h>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#ifndef TG_WIDE
#define TG_WIDE 16 /* words in a vector; 8 works as well */
#endif
#define TG_WIDE_VNNI "vpdpbusd"
#else
#define TG_WIDE 8
#define TG_WIDE_VNNI "%{vex%} vpdpbusd"
#endif

#define TG_SLACK 64 /* bytes behind an image that a last word may read */

#define TG_SIGN 0x80u /* x ^ TG_SIGN is x + 128 as an unsigned byte */

typedef int32_t tg_wide_t __attribute__((vector_size(TG_WIDE * 4)));
typedef int64_t tg_wide_products_t __attribute__((vector_size(TG_WIDE * 4)));

/* How the sums of TG_WIDE channels become int8. Multipliers are once more in places where the odd ones are even. */
typedef struct {
    tg_wide_t bias, multiplier, odd, right;
    tg_wide_products_t start, odd_start;
} tg_wide_scale_t;

static inline tg_wide_t tg_wide_load(const void *from)
{
    tg_wide_t words;
    (void)memcpy(&words, from, sizeof words);
    return words;
}

static inline tg_wide_t tg_wide_all(const void *from)
{
    int32_t word;
    (void)memcpy(&word, from, sizeof word);
    return word - (tg_wide_t){0};
}

/* sums + the four products of each word; x is unsigned. */
static inline tg_wide_t tg_wide_multiply_add(tg_wide_t sums, tg_wide_t x, tg_wide_t weights)
{
    __asm(TG_WIDE_VNNI " %2, %1, %0" : "+v"(sums) : "v"(x), "vm"(weights));
    return sums;
}

/* The products of the even words. */
static inline tg_wide_products_t tg_wide_products(tg_wide_t a, tg_wide_t b)
{
    tg_wide_products_t products;
    __asm("vpmuldq %2, %1, %0" : "=v"(products) : "v"(a), "vm"(b));
    return products;
}

/* tg_scale_narrow of each word. As in tg_core_scale_twice, high words are those of the doubled sums' products; what is added
 * to these is half, for rounding, and the offset in the high word. */
static inline tg_wide_t tg_wide_scaled(tg_wide_t sums, const tg_wide_scale_t *scale)
{
    const tg_wide_t twice = sums + sums;
    const tg_wide_products_t even = tg_wide_products(twice, scale->multiplier) + scale->start;
    const tg_wide_products_t odd =
        tg_wide_products((tg_wide_t)((tg_wide_products_t)twice >> 32), scale->odd) + scale->odd_start;
#if TG_WIDE == 16
    tg_wide_t high = (tg_wide_t)odd;
    __asm("vmovshdup %1, %0%{%2%}" : "+v"(high) : "v"(even), "Yk"((uint16_t)0x5555));
#else
    const tg_wide_products_t upper = (tg_wide_products_t){0} - (INT64_C(1) << 32);
    const tg_wide_t high = (tg_wide_t)(((even >> 32) & ~upper) | (odd & upper));
#endif
    return (high + (sums >> 31)) >> scale->right;
}

/* The limits of outputs; `free` where they are those of int8. */
typedef struct {
    int8_t low, high;
    bool free;
} tg_wide_limits_t;

static inline tg_wide_limits_t tg_wide_limits(const tg_requant_t *q)
{
    return (tg_wide_limits_t){q->act_min, q->act_max, (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX)};
}

/* Cut values at the limits and store those of the first `count` channels. */
static inline void tg_wide_store(tg_wide_t values, tg_wide_limits_t limits, int32_t count, int8_t *out)
{
#if TG_WIDE == 16
    typedef int8_t bytes_t __attribute__((vector_size(TG_WIDE)));
    bytes_t bytes;
    __asm("vpmovsdb %1, %0" : "=v"(bytes) : "v"(values)); /* this cuts at the limits of int8 */
    if (!limits.free) {
        __asm("vpmaxsb %1, %0, %0" : "+v"(bytes) : "v"((bytes_t){0} + limits.low));
        __asm("vpminsb %1, %0, %0" : "+v"(bytes) : "v"((bytes_t){0} + limits.high));
    }
    if (count >= TG_WIDE) {
        (void)memcpy(out, &bytes, sizeof bytes);
    } else {
        int8_t(*to)[TG_WIDE] = (int8_t(*)[TG_WIDE])out;
        __asm("vmovdqu8 %1, %0%{%2%}"
              : "+m"(*to)
              : "v"(bytes), "Yk"((uint16_t)((1u << (uint32_t)count) - 1u)));
    }
#else
    for (int32_t i = 0; (i < TG_WIDE) && (i < count); i++) {
        out[i] = tg_clamp(values[i], limits.low, limits.high);
    }
#endif
}

static inline twin_key_t tg_wide_key(const tg_weighted_t *layer)
{
    return (twin_key_t){{layer->weights, layer->bias, layer->requant.multiplier}};
}

/* The scale of the channels from `first` on, of which `packed` holds so many words of weights. */
static inline void tg_wide_scale(const tg_weighted_t *layer, int32_t first, int32_t channels,
                                 const tg_wide_t *packed, int32_t words, tg_wide_scale_t *scale)
{
    tg_wide_t sums = {0};
    for (int32_t word = 0; word < words; word++) {
        sums = tg_wide_multiply_add(sums, (tg_wide_t){0} + 0x01010101, packed[word]);
    }
    int32_t fields[4][TG_WIDE] = {{0}};
    int64_t starts[2][TG_WIDE / 2] = {{0}};
    for (int32_t i = 0; (i < TG_WIDE) && ((first + i) < channels); i++) {
        const int32_t right = -layer->requant.shift[first + i];
        const int64_t offset = tg_scale_offset(layer->requant.zero_point, right);
        fields[0][i] = layer->bias[first + i] - (128 * sums[i]);
        fields[1][i] = layer->requant.multiplier[first + i];
        fields[2][i & ~1] =
            layer->requant.multiplier[first + i]; /* an odd one, where there is one, comes last */
        fields[3][i] = right;
        starts[i & 1][i / 2] = (offset * (INT64_C(1) << 32)) + (INT64_C(1) << 31);
    }
    (void)memcpy(scale, fields, sizeof fields);
    (void)memcpy(&scale->start, starts, sizeof starts);
}

/* What a window reads of one axis: outputs, size of the input, padding before it, and inputs in all with padding. */
typedef struct {
    int32_t out, in, pad, all;
} tg_wide_axis_t;

static inline tg_wide_axis_t tg_wide_axis(int32_t out, int32_t in, int32_t pad, int32_t kernel,
                                          int32_t stride, int32_t dilation)
{
    return (tg_wide_axis_t){out, in, pad, ((out - 1) * stride) + ((kernel - 1) * dilation) + 1};
}

static inline void tg_wide_flip(uint8_t *to, const int8_t *from, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        to[i] = (uint8_t)from[i] ^ TG_SIGN;
    }
}

/* Copy an image of `channels` with its padding, as unsigned bytes; row and column are the input's steps. */
static inline void tg_wide_image(tg_wide_axis_t rows, tg_wide_axis_t columns, int32_t channels, ptrdiff_t row,
                                 ptrdiff_t column, int32_t zero_point, const int8_t *in, uint8_t *image)
{
    const int32_t left = tg_min(columns.pad, columns.all);
    const int32_t width = tg_max(tg_min(columns.in, columns.all - left), 0);
    const int32_t right = columns.all - left - width;
    const uint8_t padding = (uint8_t)zero_point ^ TG_SIGN;
    for (int32_t y = -rows.pad; y < (rows.all - rows.pad); y++) {
        if ((y < 0) || (y >= rows.in)) {
            (void)memset(image, padding, (size_t)(columns.all * channels));
            image += columns.all * channels;
            continue;
        }
        (void)memset(image, padding, (size_t)(left * channels));
        image += left * channels;
        const int8_t *from = in + (y * row);
        if (column == channels) {
            tg_wide_flip(image, from, width * channels);
            image += width * channels;
        } else {
            for (int32_t x = 0; x < width; x++) {
                tg_wide_flip(image, from + (x * column), channels);
                image += channels;
            }
        }
        (void)memset(image, padding, (size_t)(right * channels));
        image += right * channels;
    }
}

/* A depthwise layer of one output channel for each input channel, in the order of pixels. */
static inline tg_depthwise_t tg_wide_depthwise_of(const tg_window_t *w, tg_weighted_t layer)
{
    const tg_axis_t rows = {.in_step = w->in_w * w->in_c,
                            .out_step = w->out_w * w->in_c,
                            .in = w->in_h,
                            .out = w->out_h,
                            .kernel = w->kernel_h,
                            .stride = w->stride_h,
                            .dilation = w->dilation_h,
                            .pad = w->pad_top};
    const tg_axis_t columns = {.in_step = w->in_c,
                               .out_step = w->in_c,
                               .in = w->in_w,
                               .out = w->out_w,
                               .kernel = w->kernel_w,
                               .stride = w->stride_w,
                               .dilation = w->dilation_w,
                               .pad = w->pad_left};
    const bool turned = (w->kernel_w == 1) && (w->out_w == 1); /* so that outputs lie along a row */
    return (tg_depthwise_t){.rows = turned ? columns : rows,
                            .columns = turned ? rows : columns,
                            .channels = w->in_c,
                            .depth_multiplier = 1,
                            .layer = layer};
}

#endif
