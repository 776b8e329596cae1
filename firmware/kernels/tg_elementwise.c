#include "tg_core.h"
#include "tg_fixed.h"
#include "tg_kernels.h"
#include "tg_output.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define MOST_NARROW 22 /* the most bits a narrow shift goes right */

static inline int32_t scaled(int32_t value, tg_scale_t scale)
{
    return tg_multiply(value, scale.multiplier, scale.shift);
}

/* The sum in the common scale, in which a's factor is exactly half of the headroom. */
static inline int32_t common(const tg_add_t *p, int32_t a, int32_t b)
{
    const int32_t term = scaled(tg_shift_left(b - p->zero_point_b, TG_ADD_HEADROOM), p->scale_b);
    return tg_shift_left(a - p->zero_point_a, TG_ADD_HEADROOM - 1) + term;
}

static inline int8_t added(const tg_add_t *p, int32_t sum)
{
    return tg_clamp(scaled(sum, p->scale_out) + p->out_zero_point, p->act_min, p->act_max);
}

static inline int8_t requantized(const tg_requantize_t *p, int32_t value)
{
    const int32_t moved = tg_add_wrap(scaled(value - p->in_zero_point, p->scale), p->out_zero_point);
    return tg_clamp(moved, INT8_MIN, INT8_MAX);
}

/* The host processes TG_LANES elements at once. It copies them first, so that the compiler can vectorize the
 * loops although output and input may be the same memory. Cores process one element after the other. */
#if TG_LANES > 1
static void add_lanes(tg_add_t p, const int8_t *a, const int8_t *b, int8_t *out)
{
    int8_t sums[TG_LANES];
    for (int32_t i = 0; i < TG_LANES; i++) {
        sums[i] = added(&p, common(&p, a[i], b[i]));
    }
    (void)memcpy(out, sums, sizeof sums);
}

static void requantize_lanes(tg_requantize_t p, const int8_t *in, int8_t *out)
{
    int8_t values[TG_LANES];
    for (int32_t i = 0; i < TG_LANES; i++) {
        values[i] = requantized(&p, in[i]);
    }
    (void)memcpy(out, values, sizeof values);
}
#endif

/* Tabulate twice what each value of b adds to the sum, including a's zero point, indexed by the bits of b as
 * uint8. The sums are far below 32 bits, so if b's factor is below 1/2 the bounds of tg_scale_narrow hold. */
static void add_table(const tg_add_t *p, int32_t *table)
{
    const tg_scale_t scale = p->scale_b;
    const int32_t start = tg_shift_left(-p->zero_point_a, TG_ADD_HEADROOM);
    const bool narrow = (scale.shift < 0) && (scale.shift >= -MOST_NARROW);
    const int32_t offset = tg_scale_offset(0, narrow ? -scale.shift : 1);
    for (int32_t value = INT8_MIN; value <= INT8_MAX; value++) {
        const int32_t b = tg_shift_left(value - p->zero_point_b, TG_ADD_HEADROOM);
        const int32_t term =
            narrow ? tg_core_scale(b, scale.multiplier, -scale.shift, offset) : scaled(b, scale);
        table[(uint8_t)value] = start + (2 * term);
    }
}

__attribute__((noinline, unused)) static void add_narrow(const tg_add_t *p, const int8_t *a, const int8_t *b,
                                                         int8_t *out, const int32_t *table)
{
    const int32_t shift = p->scale_out.shift;
    const int32_t multiplier = p->scale_out.multiplier;
    const int32_t offset = tg_scale_offset(p->out_zero_point, -shift);
    const int8_t *const end = out + p->size;
#ifdef TG_CORE_HAS_ADD
    const tg_core_add_t how = {table, multiplier, -shift, offset};
    const int32_t done = tg_core_add(&how, a, b, out, p->size);
    a += done;
    b += done;
    out += done;
#endif
#pragma GCC unroll 2
    for (; out != end; out++) {
        const int32_t twice = table[(uint8_t)*b] + tg_shift_left(*a, TG_ADD_HEADROOM);
        *out = tg_saturate(tg_core_scale_twice(twice, multiplier, -shift, offset));
        a++;
        b++;
    }
}

void tg_add(const tg_add_t *p, const int8_t *a, const int8_t *b, int8_t *out, void *scratch)
{
    int32_t i = 0;
#if TG_LANES > 1
    (void)scratch, (void)add_table;
#ifdef TG_CORE_HAS_CONVOLUTION
    if ((p->narrow != 0) && (p->scale_b.shift < 0) && (p->scale_b.shift >= -MOST_NARROW)) {
        i = tg_core_add_lanes(p, a, b, out);
    }
#endif
    for (; i + TG_LANES <= p->size; i += TG_LANES) {
        add_lanes(*p, a + i, b + i, out + i);
    }
#else
    if ((p->narrow != 0) && (p->act_min == INT8_MIN) && (p->act_max == INT8_MAX)) {
        add_table(p, scratch);
        add_narrow(p, a, b, out, scratch);
        return;
    }
#endif
    for (; i < p->size; i++) {
        out[i] = added(p, common(p, a[i], b[i]));
    }
}

void tg_requantize(const tg_requantize_t *p, const int8_t *in, int8_t *out)
{
    int32_t i = 0;
#if TG_LANES > 1
    for (; i + TG_LANES <= p->size; i += TG_LANES) {
        requantize_lanes(*p, in + i, out + i);
    }
#endif
    for (; i < p->size; i++) {
        out[i] = requantized(p, in[i]);
    }
}

void tg_mean(const tg_mean_t *p, const int8_t *in, int8_t *out)
{
    const int32_t start = -p->in_zero_point * p->positions;
    for (int32_t channel = 0; channel < p->channels; channel += 4) {
        const int32_t channels = tg_min(4, p->channels - channel);
        int32_t sums[4] = {start, start, start, start};
        tg_core_sum(in + channel, p->channels, p->positions, channels, sums);
        for (int32_t c = 0; c < channels; c++) {
            const int32_t mean = tg_add_wrap(scaled(sums[c], p->scale), p->out_zero_point);
            out[channel + c] = tg_clamp(mean, INT8_MIN, INT8_MAX);
        }
    }
}

void tg_pad(const tg_pad_t *p, const int8_t *in, int8_t *out)
{
    (void)memset(out, p->value, (size_t)p->out_h * (size_t)p->out_w * (size_t)p->out_c);
    for (int32_t y = 0; y < p->in_h; y++) {
        for (int32_t x = 0; x < p->in_w; x++) {
            const ptrdiff_t to = (ptrdiff_t)((y + p->before_h) * p->out_w) + x + p->before_w;
            const ptrdiff_t from = (ptrdiff_t)(y * p->in_w) + x;
            (void)memcpy(out + (to * p->out_c) + p->before_c, in + (from * p->in_c), (size_t)p->in_c);
        }
    }
}
