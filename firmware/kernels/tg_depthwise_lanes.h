#ifndef TG_DEPTHWISE_LANES_H
#define TG_DEPTHWISE_LANES_H

#include "tg_lanes.h"

#endif
