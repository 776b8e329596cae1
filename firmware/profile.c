#include "profile.h"

#include "port/port.h"

#include <string.h>

static uint64_t ticks[PROFILE_ENTRIES];
static uint32_t entry; /* the element of ticks that time is added to */
static uint64_t since;

void profile_start(void)
{
    (void)memset(ticks, 0, sizeof ticks);
    entry = 0u;
    port_ticks_start();
    since = port_ticks_now();
}

static void enter(uint32_t next)
{
    ticks[entry] += port_ticks_now() - since;
    entry = next;
    since = port_ticks_now();
}

void profile_layer(uint32_t layer)
{
    enter(1u + layer);
}

void profile_outside(void)
{
    enter(0u);
}

const uint64_t *profile_stop(void)
{
    ticks[entry] += port_ticks_now() - since;
    (void)port_ticks_stop();
    return ticks;
}
