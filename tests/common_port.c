/* What the ports on a host have in common: the facts of a board that there is not, and defaults, which are weak, for
 * what a port's own file does not say. */
#include "port/port.h"

#define DEFAULT __attribute__((weak))

uint32_t port_clock_hz(void)
{
    return 1000000u;
}

void port_mark_idle(void)
{
}

DEFAULT uint32_t port_ring_bytes(void)
{
    return 1023u;
}

DEFAULT void port_set_rate(uint32_t baud)
{
    (void)baud;
}

DEFAULT void port_ticks_start(void)
{
}

uint64_t port_ticks_now(void)
{
    return 0u;
}

DEFAULT uint64_t port_ticks_stop(void)
{
    return 0x0123456789ABCDEFu;
}

port_memory_t port_memory(void)
{
    return (port_memory_t){1u, 2u, 3u};
}

port_fault_t port_last_fault(void)
{
    return (port_fault_t){0};
}

port_facts_t port_facts(void)
{
    return (port_facts_t){
        .tick_source = PORT_TICKS_MICROSECONDS,
        .interrupts = PORT_INTERRUPTS_MASKED,
        .reset = PORT_RESET_PIN,
        .tick_hz = 1000000u,
        .watchdog_ms = 4000u,
    };
}
