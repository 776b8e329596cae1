/* The twin's arithmetic: it implements tg_core.h's interface with 256-bit vectors where the processor has
 * them, and in plain C elsewhere.
 *
 * A vector is eight words of columns, that is, eight pixels of two positions each. VPMADDWD multiplies and
 * adds them as SMLAD does one. The code uses the vector extensions of GCC and Clang, because parsing
 * <immintrin.h> takes longer than compiling a whole model.
 */
#ifndef TG_CORE_HOST_H
#define TG_CORE_HOST_H

#if defined(__AVX2__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TG_CORE_VECTORS
#endif
#endif

#if defined(TG_CORE_VECTORS) &&                                                                              \
    (defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)))
#define TG_CORE_HAS_CONVOLUTION
#endif

#ifdef TG_CORE_VECTORS
#define TG_CORE_HAS_EXPAND
#define TG_CORE_HAS_PAIR
#define TG_CORE_HAS_TILE
#define TG_CORE_HAS_QUAD
#define TG_CORE_HAS_SUM
#define TG_CORE_HAS_DEPTHWISE
#endif
#include "tg_core_portable.h"

#ifdef TG_CORE_VECTORS

#include <string.h>

#define TG_VECTOR 8 /* words in a vector */
#define TG_VECTORS (TG_TILE / TG_VECTOR)

typedef int32_t tg_words_t __attribute__((vector_size(32)));
typedef int32_t tg_half_t __attribute__((vector_size(16)));
typedef int16_t tg_lanes_t __attribute__((vector_size(32)));

static inline tg_words_t tg_host_load(const void *from)
{
    tg_words_t words;
    (void)memcpy(&words, from, sizeof words);
    return words;
}

static inline void tg_host_store(void *to, tg_words_t words)
{
    (void)memcpy(to, &words, sizeof words);
}

static inline tg_words_t tg_host_all(int32_t word)
{
    return (tg_words_t){word, word, word, word, word, word, word, word};
}

/* Does what SXTB16 does: bytes 0 and 2 of every word as int16. */
static inline tg_lanes_t tg_host_even(tg_words_t bytes)
{
    return ((tg_lanes_t)bytes << 8) >> 8;
}

/* Does what SXTB16 does with the word rotated right by eight: bytes 1 and 3 as int16. */
static inline tg_lanes_t tg_host_odd(tg_words_t bytes)
{
    return (tg_lanes_t)bytes >> 8;
}

/* Does an SMLAD on every word. */
static inline tg_words_t tg_host_multiply_add(tg_words_t sums, tg_words_t x, tg_lanes_t weights)
{
    return sums + (tg_words_t)__builtin_ia32_pmaddwd256((tg_lanes_t)x, weights);
}

/* Interleave the first four lanes of each half of both vectors; the function below does so with the last
 * four. */
static inline tg_words_t tg_host_low_lanes(tg_lanes_t a, tg_lanes_t b)
{
    return (tg_words_t)__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11,
                                               27);
}

static inline tg_words_t tg_host_high_lanes(tg_lanes_t a, tg_lanes_t b)
{
    return (tg_words_t)__builtin_shufflevector(a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15,
                                               31);
}

/* Turn eight words of bytes, one per pixel, into the two words of columns per pixel that they make. */
static inline void tg_host_spread(tg_words_t bytes, tg_lane_t *columns)
{
    tg_host_store(columns, (tg_words_t)tg_host_even(bytes));
    tg_host_store(columns + (2 * TG_TILE), (tg_words_t)tg_host_odd(bytes));
}

static inline tg_words_t tg_host_rows(const int8_t *first, const int8_t *second)
{
    tg_half_t low;
    tg_half_t high;
    (void)memcpy(&low, first, sizeof low);
    (void)memcpy(&high, second, sizeof high);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}

/* Expand four words of eight pixels, by two 4 x 4 transpositions side by side. */
static inline void tg_host_expand_four(const int8_t *const *source, int32_t at, tg_lane_t *columns)
{
    const tg_words_t row0 = tg_host_rows(source[0] + at, source[4] + at);
    const tg_words_t row1 = tg_host_rows(source[1] + at, source[5] + at);
    const tg_words_t row2 = tg_host_rows(source[2] + at, source[6] + at);
    const tg_words_t row3 = tg_host_rows(source[3] + at, source[7] + at);
    const tg_words_t low01 = __builtin_shufflevector(row0, row1, 0, 8, 1, 9, 4, 12, 5, 13);
    const tg_words_t low23 = __builtin_shufflevector(row2, row3, 0, 8, 1, 9, 4, 12, 5, 13);
    const tg_words_t high01 = __builtin_shufflevector(row0, row1, 2, 10, 3, 11, 6, 14, 7, 15);
    const tg_words_t high23 = __builtin_shufflevector(row2, row3, 2, 10, 3, 11, 6, 14, 7, 15);
    tg_host_spread(__builtin_shufflevector(low01, low23, 0, 1, 8, 9, 4, 5, 12, 13), columns);
    columns += 4 * TG_TILE;
    tg_host_spread(__builtin_shufflevector(low01, low23, 2, 3, 10, 11, 6, 7, 14, 15), columns);
    columns += 4 * TG_TILE;
    tg_host_spread(__builtin_shufflevector(high01, high23, 0, 1, 8, 9, 4, 5, 12, 13), columns);
    columns += 4 * TG_TILE;
    tg_host_spread(__builtin_shufflevector(high01, high23, 2, 3, 10, 11, 6, 7, 14, 15), columns);
}

static inline void tg_host_expand_one(const int8_t *const *source, int32_t at, tg_lane_t *columns)
{
    int32_t words[TG_VECTOR];
    for (int32_t i = 0; i < TG_VECTOR; i++) {
        (void)memcpy(&words[i], source[i] + at, sizeof words[i]);
    }
    tg_host_spread(tg_host_load(words), columns);
}

TG_CORE tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE], int32_t words, tg_lane_t *columns)
{
    int32_t word = 0;
    for (; word + 4 <= words; word += 4) {
        for (int32_t pixel = 0; pixel < TG_TILE; pixel += TG_VECTOR) {
            tg_host_expand_four(source + pixel, 4 * word, columns + (2 * pixel));
        }
        columns += 16 * TG_TILE;
    }
    for (; word < words; word++) {
        for (int32_t pixel = 0; pixel < TG_TILE; pixel += TG_VECTOR) {
            tg_host_expand_one(source + pixel, 4 * word, columns + (2 * pixel));
        }
        columns += 4 * TG_TILE;
    }
    return columns;
}

TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    tg_words_t a[TG_VECTORS];
    tg_words_t b[TG_VECTORS];
    for (int32_t i = 0; i < TG_VECTORS; i++) {
        a[i] = tg_host_load(sums + (TG_VECTOR * i));
        b[i] = tg_host_load(sums + TG_TILE + (TG_VECTOR * i));
    }
    for (int32_t word = 0; word < 2 * groups; word++) {
        int32_t both;
        (void)memcpy(&both, weights, sizeof both);
        const tg_lanes_t weights_a = tg_host_even(tg_host_all(both));
        const tg_lanes_t weights_b = tg_host_odd(tg_host_all(both));
        for (int32_t i = 0; i < TG_VECTORS; i++) {
            const tg_words_t x = tg_host_load(columns + (2 * TG_VECTOR * i));
            a[i] = tg_host_multiply_add(a[i], x, weights_a);
            b[i] = tg_host_multiply_add(b[i], x, weights_b);
        }
        columns += 2 * TG_TILE;
        weights += 4;
    }
    for (int32_t i = 0; i < TG_VECTORS; i++) {
        tg_host_store(sums + (TG_VECTOR * i), a[i]);
        tg_host_store(sums + TG_TILE + (TG_VECTOR * i), b[i]);
    }
}

/* The narrow requantisation of a tile. It writes to no memory but a local array inside the loops, so that GCC
 * can vectorize them. */
static inline void tg_host_outputs(const tg_weighted_t *layer, int32_t channel, const int32_t *sums,
                                   int8_t *values)
{
    const int32_t multiplier = layer->requant.multiplier[channel];
    const int32_t right = -layer->requant.shift[channel];
    const int32_t offset = tg_scale_offset(layer->requant.zero_point, right);
    const int32_t low = layer->requant.act_min;
    const int32_t high = layer->requant.act_max;
    int8_t tile[TG_TILE];
    for (int32_t i = 0; i < TG_TILE; i++) {
        tile[i] = tg_clamp(tg_scale_narrow(sums[i], multiplier, right, offset), low, high);
    }
    (void)memcpy(values, tile, sizeof tile);
}

/* Channels are computed four at a time, so that those of a pixel are stored as one word. */
TG_CORE int32_t tg_core_tile(const tg_weighted_t *layer, int32_t channels, const tg_lane_t *columns,
                             int32_t groups, int32_t pixels, int8_t *out)
{
    if (layer->requant.narrow == 0) {
        return 0;
    }
    int32_t channel = 0;
    for (; channel + 4 <= channels; channel += 4) {
        int32_t sums[4][TG_TILE];
        uint8_t values[4][TG_TILE];
        uint32_t words[TG_TILE];
        for (int32_t c = 0; c < 4; c++) {
            for (int32_t i = 0; i < TG_TILE; i++) {
                sums[c][i] = layer->bias[channel + c];
            }
        }
        for (int32_t c = 0; c < 4; c += 2) {
            tg_core_pair(columns, layer->weights + ((ptrdiff_t)(channel + c) * groups * 4), groups, sums[c]);
        }
        for (int32_t c = 0; c < 4; c++) {
            tg_host_outputs(layer, channel + c, sums[c], (int8_t *)values[c]);
        }
        for (int32_t i = 0; i < TG_TILE; i++) {
            words[i] = values[0][i] | ((uint32_t)values[1][i] << 8) | ((uint32_t)values[2][i] << 16) |
                       ((uint32_t)values[3][i] << 24);
        }
        for (int32_t i = 0; i < pixels; i++) {
            (void)memcpy(out + ((ptrdiff_t)i * channels) + channel, &words[i], sizeof words[i]);
        }
    }
    return channel;
}

TG_CORE void tg_core_sum(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *sums)
{
    if (channels == 4) {
        tg_half_t total;
        (void)memcpy(&total, sums, sizeof total);
        for (int32_t i = 0; i < count; i++) {
            tg_half_t four;
            __asm("vpmovsxbd %1, %0" : "=x"(four) : "m"(*(const int8_t(*)[4])from));
            total += four;
            from += step;
        }
        (void)memcpy(sums, &total, sizeof total);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        for (int32_t c = 0; c < channels; c++) {
            sums[c] += from[(i * step) + c];
        }
    }
}

static inline int32_t tg_host_total(tg_words_t words)
{
    int32_t total = 0;
    for (int32_t i = 0; i < TG_VECTOR; i++) {
        total = tg_add_wrap(total, words[i]);
    }
    return total;
}

TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end, const int8_t *const weights[2],
                          int32_t *sums)
{
    const int32_t positions = (int32_t)(end - vector);
    for (int32_t pair = 0; pair < 2; pair++) {
        tg_words_t a = {0};
        tg_words_t b = {0};
        int32_t k = 0;
        for (; k + (2 * TG_VECTOR) <= positions; k += 2 * TG_VECTOR) {
            const tg_words_t x = tg_host_load(vector + k);
            const tg_words_t both = tg_host_load(weights[pair] + (2 * k));
            a = tg_host_multiply_add(a, x, tg_host_even(both));
            b = tg_host_multiply_add(b, x, tg_host_odd(both));
        }
        sums[2 * pair] = tg_add_wrap(sums[2 * pair], tg_host_total(a));
        sums[(2 * pair) + 1] = tg_add_wrap(sums[(2 * pair) + 1], tg_host_total(b));
        for (; k < positions; k += 2) {
            const int8_t *w = weights[pair] + (2 * k);
            sums[2 * pair] += (w[0] * vector[k]) + (w[2] * vector[k + 1]);
            sums[(2 * pair) + 1] += (w[1] * vector[k]) + (w[3] * vector[k + 1]);
        }
    }
}

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_add.h"
#include "tg_host_layers.h"
#else
#include "tg_host_depthwise.h"
#endif

#endif

#endif
