/* Lists of taps in plain C. A header with its own sums (TG_TAPS_HAS_SUMS) uses nothing from here. */
#ifndef TG_TAPS_PORTABLE_H
#define TG_TAPS_PORTABLE_H

#ifndef TG_TAPS_HAS_SUMS

static inline void tg_taps_add(const int8_t *plane, const uint16_t *offsets, int32_t count, int16_t sign,
                               int16_t *restrict sums)
{
    for (int32_t n = 0; n < count; n++) {
        const int8_t *x = plane + offsets[n];
        for (int32_t i = 0; i < TG_TAPS_TILE; i++) {
            sums[i] = (int16_t)(sums[i] + (sign * x[i]));
        }
    }
}

static inline void tg_taps_sum(const int8_t *plane, tg_taps_t taps, int32_t count, int16_t *sums)
{
    for (int32_t first = 0; first < count; first += TG_TAPS_TILE) {
        for (int32_t i = 0; i < TG_TAPS_TILE; i++) {
            sums[first + i] = 0;
        }
        tg_taps_add(plane + first, taps.minus, taps.minus_count, -1, sums + first);
        tg_taps_add(plane + first, taps.plus, taps.plus_count, 1, sums + first);
    }
}

static inline const uint8_t *tg_steps_add(const int8_t *plane, const uint8_t *list, int32_t count,
                                          int32_t unit, int16_t sign, int16_t *restrict sums)
{
    for (const uint8_t *end = list + count; list != end; list++) {
        plane += *list * unit;
        for (int32_t i = 0; i < TG_TAPS_TILE; i++) {
            sums[i] = (int16_t)(sums[i] + (sign * plane[i]));
        }
    }
    return list;
}

static inline void tg_steps_sum(const int8_t *plane, tg_steps_t steps, int32_t count, int16_t *sums)
{
    for (int32_t first = 0; first < count; first += TG_TAPS_TILE) {
        for (int32_t i = 0; i < TG_TAPS_TILE; i++) {
            sums[first + i] = 0;
        }
        const uint8_t *plus =
            tg_steps_add(plane + first, steps.list, steps.minus, steps.unit, -1, sums + first);
        (void)tg_steps_add(plane + first, plus, steps.plus, steps.unit, 1, sums + first);
    }
}

#endif

#endif
