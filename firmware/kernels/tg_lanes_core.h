/* The arithmetic of tg_lanes.h for the core for which the code is compiled. */
#ifndef TG_LANES_CORE_H
#define TG_LANES_CORE_H

#include "tg_lanes.h"

#if defined(__ARM_FEATURE_MVE) && ((__ARM_FEATURE_MVE & 1) != 0)
#include "tg_lanes_m55.h"
#else
#include "tg_lanes_portable.h"
#endif

#endif
