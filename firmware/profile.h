/* Measures the ticks of each layer. Only firmwares built with `build --profile` call this; in others it is
 * not linked. */
#ifndef PROFILE_H
#define PROFILE_H

#include "config.h"

#include <stdint.h>

/* Clear what was measured and start the ticks. */
void profile_start(void);

/* The layer before ends and this one begins; layers may alternate. */
void profile_layer(uint32_t layer);

/* The layer before ends; what follows is outside all layers. */
void profile_outside(void);

/* Stop the ticks. Returns uint64[PROFILE_ENTRIES]: [0] is time outside all layers, [1 + i] is layer i. The
 * time that measuring itself takes is in none of them. */
const uint64_t *profile_stop(void);

#define PROFILE_ENTRIES (1u + CONFIG_LAYER_COUNT)

#endif
