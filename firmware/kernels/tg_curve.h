/* Sigmoid and tanh on 256 points of the sigmoid, with straight lines between them. */
#ifndef TG_CURVE_H
#define TG_CURVE_H

#include <stdint.h>

#define TG_CURVE_LAST 255u

/* The curve at size / 2^bits, a straight line between its points, in 2^-(16 + bits); beyond its end `most`. */
__attribute__((unused)) static int32_t tg_on_curve(const uint16_t *curve, uint32_t size, uint32_t bits,
                                                   uint32_t most)
{
    const uint32_t at = size >> bits;
    if (at >= TG_CURVE_LAST) {
        return (int32_t)most;
    }
    const uint32_t low = curve[at];
    return (int32_t)((low << bits) + ((size & ((1u << bits) - 1u)) * ((uint32_t)curve[at + 1u] - low)));
}

__attribute__((unused)) static uint32_t tg_magnitude(int32_t value)
{
    return (uint32_t)((value < 0) ? -value : value);
}

/* sigmoid(times * x / (3 * 2^12)) in 2^-15. */
__attribute__((unused)) static int32_t tg_curve_sigmoid(const uint16_t *curve, int32_t times, int32_t x)
{
    const int32_t value = tg_on_curve(curve, tg_magnitude(times * x), 9u, 0x7FFFu << 10);
    return ((x >= 0) ? (value + (1 << 9)) : ((1 << 25) - value + (1 << 9) - 1)) >> 10;
}

/* tanh(x / (3 * 2^12)) = 2 sigmoid(2 x) - 1 in 2^-15. */
__attribute__((unused)) static int32_t tg_curve_tanh(const uint16_t *curve, int32_t x)
{
    const int32_t value = tg_on_curve(curve, tg_magnitude(x), 8u, 0xFFFFu << 8);
    return ((x >= 0) ? (value - (1 << 23) + (1 << 7)) : ((1 << 23) - value + (1 << 7) - 1)) >> 8;
}

#endif
