/* The firmware's port on a host: standard input and output for the serial line, so that everything above it
 * runs under the host's sanitizers. */
#include "port/port.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t next_byte;
static bool has_byte;

void port_start(void)
{
}

uint32_t port_clock_hz(void)
{
    return 1000000u;
}

size_t port_received(const uint8_t **bytes)
{
    *bytes = &next_byte;
    return has_byte ? 1u : 0u;
}

void port_taken(size_t count)
{
    has_byte = has_byte && (count == 0u);
}

void port_mark_idle(void)
{
}

uint32_t port_ring_bytes(void)
{
    return 1023u;
}

void port_set_rate(uint32_t baud)
{
    (void)baud;
}

void port_wait(void)
{
    (void)fflush(stdout);
    const int byte = getchar();
    if (byte == EOF) {
        exit(EXIT_SUCCESS);
    }
    next_byte = (uint8_t)byte;
    has_byte = true;
}

void port_write(uint8_t byte)
{
    (void)putchar(byte);
}

void port_ticks_start(void)
{
}

uint64_t port_ticks_now(void)
{
    return 0u;
}

uint64_t port_ticks_stop(void)
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
