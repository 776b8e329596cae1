/* tg_channels.h in plain C. */
#ifndef TG_CHANNELS_PORTABLE_H
#define TG_CHANNELS_PORTABLE_H

static inline void tg_channels_whole(const tg_weighted_t *layer, int32_t whole, tg_places_t at, int8_t *out)
{
    tg_channels_some(layer, 0, whole, at, out);
}

#endif
