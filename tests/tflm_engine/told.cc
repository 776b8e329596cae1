/* In place of the firmware's profiler, on a host: keeps what it is told. */
extern "C" {
#include "profile.h"

uint32_t told[4096];
uint32_t told_count;

void profile_layer(uint32_t layer)
{
    told[told_count++] = 1u + layer;
}

void profile_outside(void)
{
    told[told_count++] = 0u;
}
}
