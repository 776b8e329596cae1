/* Functions of one element with int16 on one side or on both. */
#ifndef TG_WIDE_ELEMENTWISE_H
#define TG_WIDE_ELEMENTWISE_H

#include "tg_kernels.h"

#include <stdint.h>

/* Rescaling from one grid to another. The zero points are those of int8; int16 has 0. Elements are read and written in
 * rising order, each read before it is written. */
typedef struct {
    int32_t size;
    int32_t in_zero_point;
    tg_scale_t scale;
    int32_t out_zero_point;
} tg_wide_requantize_t;

void tg_wide_requantize(const tg_wide_requantize_t *p, const void *in, void *out); /* int16 to int16 */
void tg_wide_narrow(const tg_wide_requantize_t *p, const void *in, void *out);     /* int16 to int8 */
void tg_wide_widen(const tg_wide_requantize_t *p, const void *in, void *out);      /* int8 to int16 */

/* Two slopes, rescaled by `above` from zero on and by `below` below it, and a clamp: LEAKY_RELU,
 * RELU and ABS, whose multiplier below zero is negative. */
typedef struct {
    int32_t size;
    tg_scale_t above, below;
    int16_t act_min, act_max;
} tg_wide_slopes_t;

void tg_wide_slopes(const tg_wide_slopes_t *p, const void *in, void *out);

/* LOGISTIC and TANH to 2^-15 a step. round(x * multiplier / 2^shift) is in 1 / (3 * 2^12); curve has 256 points of the
 * sigmoid, 1/24 apart, in 2^-16. */
typedef struct {
    int32_t size;
    int32_t multiplier, shift;
    const uint16_t *curve;
} tg_wide_curve_t;

void tg_wide_logistic(const tg_wide_curve_t *p, const void *in, void *out);
void tg_wide_tanh(const tg_wide_curve_t *p, const void *in, void *out);

#endif
