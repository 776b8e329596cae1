#include "tg_lstm.h"

#include "tg_curve.h"
#include "tg_fixed.h"

#include <string.h>

enum { INPUT, FORGET, CELL, OUTPUT, GATES };

static int32_t clamp16(int32_t value)
{
    return tg_min(tg_max(value, INT16_MIN), INT16_MAX);
}

static int32_t dot(const int8_t *weights, const int8_t *x, int32_t size)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < size; i++) {
        sum += weights[i] * x[i];
    }
    return sum;
}

static int32_t rescaled(int32_t sum, const int32_t *scale)
{
    return clamp16(tg_multiply(sum, scale[0], scale[1]));
}

static int32_t product(int32_t a, int32_t b, const tg_scale_t *scale)
{
    return tg_multiply(a * b, scale->multiplier, scale->shift);
}

/* What goes into a gate's curve. */
static int32_t gate(const tg_lstm_t *p, int32_t which, int32_t unit, const int8_t *x, const int8_t *before)
{
    const int32_t row = (which * p->units) + unit;
    const int8_t *const weights = p->weights + ((ptrdiff_t)row * (p->depth + p->units));
    const int32_t *const bias = p->bias + ((ptrdiff_t)2 * row);
    const int32_t *const scales = p->scales + ((ptrdiff_t)4 * which);
    const int32_t fresh = rescaled(tg_add_wrap(dot(weights, x, p->depth), bias[0]), scales);
    const int32_t kept =
        rescaled(tg_add_wrap(dot(weights + p->depth, before, p->units), bias[1]), scales + 2);
    return clamp16(fresh + kept);
}

static int8_t step(const tg_lstm_t *p, int32_t unit, const int8_t *x, const int8_t *before, int16_t *cell)
{
    int32_t gates[GATES];
    for (int32_t which = 0; which < (int32_t)GATES; which++) {
        gates[which] = gate(p, which, unit, x, before);
    }
    const int32_t kept = clamp16(product(tg_curve_sigmoid(p->curve, 3, gates[FORGET]), *cell, &p->forget));
    const int32_t fresh = product(tg_curve_sigmoid(p->curve, 3, gates[INPUT]),
                                  tg_curve_tanh(p->curve, 3 * gates[CELL]), &p->input);
    int32_t value = clamp16(kept + clamp16(fresh));
    if (p->clip >= 0) {
        value = tg_max(tg_min(value, p->clip), -p->clip);
    }
    *cell = (int16_t)value;
    const int32_t turned = ((value * p->tanh_multiplier) + ((1 << p->tanh_shift) >> 1)) >> p->tanh_shift;
    const int32_t out =
        product(tg_curve_tanh(p->curve, turned), tg_curve_sigmoid(p->curve, 3, gates[OUTPUT]), &p->output);
    return tg_clamp(tg_add_wrap(out, p->out_zero_point), INT8_MIN, INT8_MAX);
}

void tg_lstm(const tg_lstm_t *p, const int8_t *in, int8_t *hidden, int8_t *cell, int8_t *out)
{
    int16_t *const cells = (int16_t *)(void *)cell;
    const int8_t *before = hidden;
    for (int32_t t = 0; t < p->steps; t++) {
        for (int32_t unit = 0; unit < p->units; unit++) {
            out[unit] = step(p, unit, in, before, &cells[unit]);
        }
        before = out;
        in += p->depth;
        out += p->units;
    }
    (void)memcpy(hidden, before, (size_t)p->units);
}
