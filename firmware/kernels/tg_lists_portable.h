/* Sparse lists in plain C. */
#ifndef TG_LISTS_PORTABLE_H
#define TG_LISTS_PORTABLE_H

static inline void tg_lists_run(const uint32_t *words, const tg_lists_run_t *run, uint32_t *sums)
{
    const uint32_t *at = words;
    for (int32_t i = 0; i < TG_LISTS_TILE; i++) {
        sums[i] = 0;
    }
    for (int32_t n = 0; n < (run->minus + run->plus); n++) {
        at = ((n == run->minus) ? words : at) + (run->steps[n] * (run->unit / (int32_t)sizeof *words));
        for (int32_t i = 0; i < TG_LISTS_TILE; i++) {
            sums[i] += (n < run->minus) ? (0u - at[i]) : at[i];
        }
    }
}

#endif
