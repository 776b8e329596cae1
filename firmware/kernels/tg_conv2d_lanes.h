#ifndef TG_CONV2D_LANES_H
#define TG_CONV2D_LANES_H

#include "tg_lanes.h"

#endif
