#include "tg_lstm.h"

#include "tg_fixed.h"

#include <string.h>

enum { INPUT, FORGET, CELL, OUTPUT, GATES };

#define CURVE_LAST 255u

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

/* The curve at size / 2^bits, a straight line between its points, in 2^-(16 + bits); beyond its end `most`. */
static int32_t on_curve(const uint16_t *curve, uint32_t size, uint32_t bits, uint32_t most)
{
    const uint32_t at = size >> bits;
    if (at >= CURVE_LAST) {
        return (int32_t)most;
    }
    const uint32_t low = curve[at];
    return (int32_t)((low << bits) + ((size & ((1u << bits) - 1u)) * ((uint32_t)curve[at + 1u] - low)));
}

static uint32_t magnitude(int32_t value)
{
    return (uint32_t)((value < 0) ? -value : value);
}

/* From 2^-12 a step to 2^-15 a step. */
static int32_t sigmoid(const uint16_t *curve, int32_t x)
{
    const int32_t value = on_curve(curve, magnitude(3 * x), 9u, 0x7FFFu << 10);
    return ((x >= 0) ? (value + (1 << 9)) : ((1 << 25) - value + (1 << 9) - 1)) >> 10;
}

/* tanh(x) = 2 sigmoid(2 x) - 1, of an x already in thirds of the curve's steps, to 2^-15 a step. */
static int32_t hyperbolic(const uint16_t *curve, int32_t x)
{
    const int32_t value = on_curve(curve, magnitude(x), 8u, 0xFFFFu << 8);
    return ((x >= 0) ? (value - (1 << 23) + (1 << 7)) : ((1 << 23) - value + (1 << 7) - 1)) >> 8;
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
    const int32_t kept = clamp16(product(sigmoid(p->curve, gates[FORGET]), *cell, &p->forget));
    const int32_t fresh =
        product(sigmoid(p->curve, gates[INPUT]), hyperbolic(p->curve, 3 * gates[CELL]), &p->input);
    int32_t value = clamp16(kept + clamp16(fresh));
    if (p->clip >= 0) {
        value = tg_max(tg_min(value, p->clip), -p->clip);
    }
    *cell = (int16_t)value;
    const int32_t turned = ((value * p->tanh_multiplier) + ((1 << p->tanh_shift) >> 1)) >> p->tanh_shift;
    const int32_t out = product(hyperbolic(p->curve, turned), sigmoid(p->curve, gates[OUTPUT]), &p->output);
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
