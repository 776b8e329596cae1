/* tg_channels.h in plain C, for cores that have at most the sums of their own. */
#ifndef TG_CHANNELS_PORTABLE_H
#define TG_CHANNELS_PORTABLE_H

#ifndef TG_CHANNELS_HAS_SUM
/* sums[i] += the sum of channel + i. */
static inline void tg_channels_sum(tg_places_t at, const int8_t *weights, int32_t channel, int32_t *sums)
{
    for (int32_t lane = 0; lane < TG_CHANNELS; lane++) {
        sums[lane] += tg_channels_one(at, weights, channel, lane);
    }
}
#endif

__attribute__((noinline, unused)) static void tg_channels_run(const tg_weighted_t *layer, int32_t channels,
                                                              tg_places_t at, int8_t *out)
{
    const tg_requant_t q = layer->requant; /* the compiler must assume that int8 stores may change the layer's */
    const int8_t *weights = layer->weights;
    const int32_t *bias = layer->bias;
    for (int32_t channel = 0; channel < channels; channel += TG_CHANNELS) {
        const int32_t count = tg_min(TG_CHANNELS, channels - channel);
        int32_t sums[TG_CHANNELS];
        for (int32_t lane = 0; lane < count; lane++) {
            sums[lane] = *bias;
            bias++;
        }
        if (count == TG_CHANNELS) {
            tg_channels_sum(at, weights, channel, sums);
        } else { /* the others' words may end behind the input */
            for (int32_t lane = 0; lane < count; lane++) {
                sums[lane] += tg_channels_one(at, weights, channel, lane);
            }
        }
        for (int32_t lane = 0; lane < count; lane++) {
            *out = tg_channels_output(&q, channel + lane, sums[lane]);
            out++;
        }
        weights += TG_CHANNELS * (at.end - at.first);
    }
}

#endif
