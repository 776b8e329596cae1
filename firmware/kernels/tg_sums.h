/* Turns the sums of some output rows of one channel, whose positions tg_taps.h draws, into int8. */
#ifndef TG_SUMS_H
#define TG_SUMS_H

#include "tg_trits.h"

typedef struct {
    const int16_t *sums;
    int32_t rows, width;
    int32_t pitch; /* from one row's sums to the next's */
} tg_sums_t;

/* Outputs are `step` apart, also from the end of a row to the next row. */
__attribute__((noinline, unused)) static void tg_sums_plain(const tg_trit_scale_t *scale,
                                                            const tg_trit_channel_t *channel,
                                                            const tg_sums_t *strip, int8_t *out, int32_t step)
{
    const tg_trit_narrow_t narrow = tg_trits_narrow(channel, scale->zero_point);
    const int16_t *sum = strip->sums;
    out += channel->channel;
    for (int32_t rows = strip->rows; rows > 0; rows--) {
        for (const int16_t *end = sum + strip->width; sum != end; sum++) {
            *out = tg_trits_plain(narrow, *sum);
            out += step;
        }
        sum += strip->pitch - strip->width;
    }
}

static inline void tg_sums_output(const tg_trit_scale_t *scale, const tg_trit_channel_t *channel,
                                  const tg_sums_t *strip, tg_sink_t to, int32_t step)
{
    if (tg_trits_are_plain(scale, to)) {
        tg_sums_plain(scale, channel, strip, to.out, step);
        return;
    }
    for (int32_t row = 0; row < strip->rows; row++) {
        for (int32_t x = 0; x < strip->width; x++) {
            tg_trits_any(scale, channel, strip->sums[(row * strip->pitch) + x], to);
            to = tg_sink_at(to, step);
        }
    }
}

#endif
