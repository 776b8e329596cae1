/* Lists of taps for cores with integer vectors (MVE). Two instructions load eight positions, widen them to 16
 * bits and add them. The vectors of sums of one tile, or of two, stay in registers for a whole list. */
#ifndef TG_TAPS_M55_H
#define TG_TAPS_M55_H

#include <arm_mve.h>

#define TG_TAPS_VECTOR 8
#define TG_TAPS_VECTORS (TG_TAPS_TILE / TG_TAPS_VECTOR)
#define TG_TAPS_INLINE static inline __attribute__((always_inline))

TG_TAPS_INLINE void tg_taps_add(const int8_t *x, int16x8_t *sums, int32_t vectors)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < vectors; i++) {
        sums[i] = vaddq_s16(sums[i], vldrbq_s16(x + (TG_TAPS_VECTOR * i)));
    }
}

TG_TAPS_INLINE void tg_taps_negate(int16x8_t *sums, int32_t vectors)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < vectors; i++) {
        sums[i] = vnegq_s16(sums[i]);
    }
}

TG_TAPS_INLINE void tg_taps_store(const int16x8_t *sums, int16_t *to, int32_t vectors)
{
#pragma GCC unroll 4
    for (int32_t i = 0; i < vectors; i++) {
        vst1q_s16(to + (TG_TAPS_VECTOR * i), sums[i]);
    }
}

TG_TAPS_INLINE void tg_taps_tile(const int8_t *plane, tg_taps_t taps, int16_t *to, int32_t vectors)
{
    int16x8_t sums[2 * TG_TAPS_VECTORS] = {0};
    for (int32_t n = 0; n < taps.minus_count; n++) {
        tg_taps_add(plane + taps.minus[n], sums, vectors);
    }
    tg_taps_negate(sums, vectors);
    for (int32_t n = 0; n < taps.plus_count; n++) {
        tg_taps_add(plane + taps.plus[n], sums, vectors);
    }
    tg_taps_store(sums, to, vectors);
}

TG_TAPS_INLINE void tg_steps_tile(const int8_t *plane, tg_steps_t steps, int16_t *to, int32_t vectors)
{
    int16x8_t sums[2 * TG_TAPS_VECTORS] = {0};
    const uint8_t *list = steps.list;
    const int8_t *x = plane;
    for (int32_t n = steps.minus; n > 0; n--) {
        x += *list++ * steps.unit;
        tg_taps_add(x, sums, vectors);
    }
    tg_taps_negate(sums, vectors);
    x = plane;
    for (int32_t n = steps.plus; n > 0; n--) {
        x += *list++ * steps.unit;
        tg_taps_add(x, sums, vectors);
    }
    tg_taps_store(sums, to, vectors);
}

/* Takes two tiles at a time, then a single one that remains. */
static inline void tg_taps_sum(const int8_t *plane, tg_taps_t taps, int32_t count, int16_t *sums)
{
    int32_t first = 0;
    for (; (count - first) > TG_TAPS_TILE; first += 2 * TG_TAPS_TILE) {
        tg_taps_tile(plane + first, taps, sums + first, 2 * TG_TAPS_VECTORS);
    }
    if (first < count) {
        tg_taps_tile(plane + first, taps, sums + first, TG_TAPS_VECTORS);
    }
}

static inline void tg_steps_sum(const int8_t *plane, tg_steps_t steps, int32_t count, int16_t *sums)
{
    int32_t first = 0;
    for (; (count - first) > TG_TAPS_TILE; first += 2 * TG_TAPS_TILE) {
        tg_steps_tile(plane + first, steps, sums + first, 2 * TG_TAPS_VECTORS);
    }
    if (first < count) {
        tg_steps_tile(plane + first, steps, sums + first, TG_TAPS_VECTORS);
    }
}

#endif
