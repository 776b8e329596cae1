/* The id of everything this firmware was made from; HELLO reports it. */
#ifndef BUILD_ID_H
#define BUILD_ID_H

#include "config.h"

#include <stdint.h>

extern const uint8_t build_id[CONFIG_BUILD_ID_BYTES];

#endif
