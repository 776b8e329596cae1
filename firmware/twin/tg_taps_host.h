/* Sums over lists of taps with vectors. Up to four tiles are processed at once, so that each step of the list
 * is read once for 64 positions, and the sums stay in registers until the list ends. */
#ifndef TG_TAPS_HOST_H
#define TG_TAPS_HOST_H

#if defined(__AVX2__) && defined(__has_builtin)
#if __has_builtin(__builtin_convertvector)
#define TG_TAPS_HAS_SUMS
#endif
#endif
#include "tg_taps_portable.h"

#ifdef TG_TAPS_HAS_SUMS

#include <stdbool.h>
#include <string.h>

#define TG_HOST_TILES 4

typedef int8_t tg_host_bytes_t __attribute__((vector_size(TG_TAPS_TILE)));
typedef int16_t tg_host_sums_t __attribute__((vector_size(2 * TG_TAPS_TILE)));

/* The functions below are always inlined, so that `tiles` is a constant in each of them. */
#define TG_HOST_INLINE static inline __attribute__((always_inline))

TG_HOST_INLINE tg_host_sums_t tg_host_sums_tile(const int8_t *from)
{
    tg_host_bytes_t bytes;
    (void)memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(bytes, tg_host_sums_t);
}

TG_HOST_INLINE void tg_host_sums_add(const int8_t *x, int32_t tiles, bool minus, tg_host_sums_t *sums)
{
    for (int32_t tile = 0; tile < tiles; tile++) {
        const tg_host_sums_t wide = tg_host_sums_tile(x + (TG_TAPS_TILE * tile));
        sums[tile] = minus ? (sums[tile] - wide) : (sums[tile] + wide);
    }
}

TG_HOST_INLINE void tg_host_taps_sum(const int8_t *plane, tg_taps_t taps, int32_t tiles, int16_t *to)
{
    tg_host_sums_t sums[TG_HOST_TILES] = {{0}};
    for (int32_t n = 0; n < taps.minus_count; n++) {
        tg_host_sums_add(plane + taps.minus[n], tiles, true, sums);
    }
    for (int32_t n = 0; n < taps.plus_count; n++) {
        tg_host_sums_add(plane + taps.plus[n], tiles, false, sums);
    }
    (void)memcpy(to, sums, sizeof *sums * (size_t)tiles);
}

TG_HOST_INLINE void tg_host_steps_sum(const int8_t *plane, tg_steps_t steps, int32_t tiles, int16_t *to)
{
    tg_host_sums_t sums[TG_HOST_TILES] = {{0}};
    const uint8_t *step = steps.list;
    const int8_t *x = plane;
    for (int32_t n = 0; n < steps.minus; n++) {
        x += *step++ * steps.unit;
        tg_host_sums_add(x, tiles, true, sums);
    }
    x = plane;
    for (int32_t n = 0; n < steps.plus; n++) {
        x += *step++ * steps.unit;
        tg_host_sums_add(x, tiles, false, sums);
    }
    (void)memcpy(to, sums, sizeof *sums * (size_t)tiles);
}

#define TG_HOST_SUM(sum, list)                                                                               \
    for (int32_t first = 0; first < count; first += TG_HOST_TILES * TG_TAPS_TILE) {                          \
        switch ((count - first + TG_TAPS_TILE - 1) / TG_TAPS_TILE) {                                         \
        case 1:                                                                                              \
            sum(plane + first, list, 1, sums + first);                                                       \
            break;                                                                                           \
        case 2:                                                                                              \
            sum(plane + first, list, 2, sums + first);                                                       \
            break;                                                                                           \
        case 3:                                                                                              \
            sum(plane + first, list, 3, sums + first);                                                       \
            break;                                                                                           \
        default:                                                                                             \
            sum(plane + first, list, TG_HOST_TILES, sums + first);                                           \
            break;                                                                                           \
        }                                                                                                    \
    }

static inline void tg_taps_sum(const int8_t *plane, tg_taps_t taps, int32_t count, int16_t *sums)
{
    TG_HOST_SUM(tg_host_taps_sum, taps)
}

static inline void tg_steps_sum(const int8_t *plane, tg_steps_t steps, int32_t count, int16_t *sums)
{
    TG_HOST_SUM(tg_host_steps_sum, steps)
}

#endif

#endif
