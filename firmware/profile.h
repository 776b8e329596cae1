/* Ticks of each layer. Firmwares built with `build --profile` alone call this; in others nothing of it is
 * linked. */
#ifndef PROFILE_H
#define PROFILE_H

#include "config.h"

#include <stdint.h>

/* Forget, and start the ticks. */
void profile_start(void);

/* A layer begins, and the one before it ends; layers may take turns. */
void profile_layer(uint32_t layer);

/* Stop the ticks. [0]: outside of all layers, [1 + i]: layer i. What measuring takes is in none of them. */
const uint64_t *profile_stop(void);

#define PROFILE_ENTRIES (1u + CONFIG_LAYER_COUNT)

#endif
