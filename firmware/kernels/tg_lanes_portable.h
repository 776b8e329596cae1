/* tg_lanes.h in plain C. */
#ifndef TG_LANES_PORTABLE_H
#define TG_LANES_PORTABLE_H

#include "tg_fixed.h"

static inline int8_t tg_lanes_output(const tg_by_lanes_t *p, int32_t channel, int32_t sum)
{
    const tg_eight_t *eight = &p->channels[channel / 8];
    const int32_t lane = ((channel & 1) * 4) + ((channel & 7) / 2);
    const int32_t acc = tg_add_wrap(sum, eight->bias[lane]);
    const int32_t right = -eight->shift[lane];
    const int32_t offset = tg_scale_offset(p->scale.zero_point, right);
    return tg_clamp(tg_scale_narrow(acc, eight->multiplier[lane], right, offset), p->scale.act_min,
                    p->scale.act_max);
}

__attribute__((unused)) static void tg_lanes_window(const tg_by_lanes_t *p, const int8_t *x,
                                                    const int32_t *at, int32_t taps, int8_t *out)
{
    for (int32_t channel = 0; channel < p->window.in_c; channel++) {
        const int8_t *weights = p->weights + ((channel / 8) * taps * 8) + (channel & 7);
        int32_t sum = 0;
        for (int32_t tap = 0; tap < taps; tap++) {
            sum += weights[tap * 8] * x[at[tap] + channel];
        }
        out[channel] = tg_lanes_output(p, channel, sum);
    }
}

__attribute__((unused)) static void tg_lanes_tile(const tg_by_lanes_t *p, const int8_t *windows,
                                                  int32_t positions, int32_t pixels, int8_t *out)
{
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t channel = 0; channel < p->window.out_c; channel++) {
            const int8_t *weights = p->weights + (channel * positions);
            int32_t sum = 0;
            for (int32_t k = 0; k < positions; k++) {
                sum += weights[k] * windows[k];
            }
            *out = tg_lanes_output(p, channel, sum);
            out++;
        }
        windows += positions;
    }
}

#endif
