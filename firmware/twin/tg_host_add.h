/* Sums of two images with vectors. */
#ifndef TG_HOST_ADD_H
#define TG_HOST_ADD_H

#include "tg_host_wide.h"

/* The same scale for all lanes. */
static inline tg_wide_scale_t tg_wide_one_scale(tg_scale_t scale, int32_t zero_point)
{
    const int64_t offset = tg_scale_offset(zero_point, -scale.shift);
    const tg_wide_t multiplier = (tg_wide_t){0} + scale.multiplier;
    const tg_wide_products_t start =
        (tg_wide_products_t){0} + ((offset * (INT64_C(1) << 32)) + (INT64_C(1) << 31));
    return (tg_wide_scale_t){.multiplier = multiplier,
                             .odd = multiplier,
                             .right = (tg_wide_t){0} - scale.shift,
                             .start = start,
                             .odd_start = start};
}

static inline tg_wide_t tg_wide_widened(const int8_t *from)
{
    tg_wide_t words;
    __asm("vpmovsxbd %1, %0" : "=v"(words) : "m"(*(const int8_t(*)[TG_WIDE])from));
    return words;
}

/* Both scales are narrow, as tg_elementwise.c has it. Returns the number of elements done, whole vectors; each is read before
 * it is written. */
TG_CORE int32_t tg_core_add_lanes(const tg_add_t *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    const tg_wide_scale_t of_b = tg_wide_one_scale(p->scale_b, 0);
    const tg_wide_scale_t of_sum = tg_wide_one_scale(p->scale_out, p->out_zero_point);
    const tg_wide_limits_t limits = {p->act_min, p->act_max,
                                     (p->act_min == INT8_MIN) && (p->act_max == INT8_MAX)};
    const int32_t zero_a = p->zero_point_a;
    const int32_t zero_b = p->zero_point_b;
    const int32_t end = p->size - (p->size % TG_WIDE);
    for (int32_t i = 0; i < end; i += TG_WIDE) {
        const tg_wide_t term = tg_wide_scaled((tg_wide_widened(b + i) - zero_b) << TG_ADD_HEADROOM, &of_b);
        const tg_wide_t sum = ((tg_wide_widened(a + i) - zero_a) << (TG_ADD_HEADROOM - 1)) + term;
        tg_wide_store(tg_wide_scaled(sum, &of_sum), limits, TG_WIDE, out + i);
    }
    return end;
}

#endif
