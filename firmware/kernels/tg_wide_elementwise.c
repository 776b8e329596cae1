#include "tg_wide_elementwise.h"

#include "tg_curve.h"
#include "tg_wide.h"

static inline int32_t rescaled(const tg_wide_requantize_t *p, int32_t value)
{
    const int32_t scaled = tg_multiply(value - p->in_zero_point, p->scale.multiplier, p->scale.shift);
    return tg_add_wrap(scaled, p->out_zero_point);
}

void tg_wide_requantize(const tg_wide_requantize_t *p, const void *in, void *out)
{
    const int16_t *from = in;
    int16_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        to[i] = tg_wide_clamp(rescaled(p, from[i]), INT16_MIN, INT16_MAX);
    }
}

void tg_wide_narrow(const tg_wide_requantize_t *p, const void *in, void *out)
{
    const int16_t *from = in;
    int8_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        to[i] = tg_clamp(rescaled(p, from[i]), INT8_MIN, INT8_MAX);
    }
}

void tg_wide_widen(const tg_wide_requantize_t *p, const void *in, void *out)
{
    const int8_t *from = in;
    int16_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        to[i] = tg_wide_clamp(rescaled(p, from[i]), INT16_MIN, INT16_MAX);
    }
}

void tg_wide_slopes(const tg_wide_slopes_t *p, const void *in, void *out)
{
    const int16_t *from = in;
    int16_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        const tg_scale_t scale = (from[i] >= 0) ? p->above : p->below;
        to[i] = tg_wide_clamp(tg_multiply(from[i], scale.multiplier, scale.shift), p->act_min, p->act_max);
    }
}

static inline int32_t turned(const tg_wide_curve_t *p, int32_t value)
{
    return ((value * p->multiplier) + (int32_t)((UINT32_C(1) << (uint32_t)p->shift) >> 1)) >> p->shift;
}

void tg_wide_logistic(const tg_wide_curve_t *p, const void *in, void *out)
{
    const int16_t *from = in;
    int16_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        to[i] = (int16_t)tg_curve_sigmoid(p->curve, 1, turned(p, from[i]));
    }
}

void tg_wide_tanh(const tg_wide_curve_t *p, const void *in, void *out)
{
    const int16_t *from = in;
    int16_t *to = out;
    for (int32_t i = 0; i < p->size; i++) {
        to[i] = (int16_t)tg_curve_tanh(p->curve, turned(p, from[i]));
    }
}
