/* The firmware's port on a host: standard input and output for the serial line, so that everything above it
 * runs under the host's sanitizers. */
#include "port/port.h"

#include <stdio.h>
#include <stdlib.h>

static int next_byte = EOF;

void port_start(void)
{
}

uint32_t port_clock_hz(void)
{
    return 1000000u;
}

bool port_read(uint8_t *byte)
{
    if (next_byte == EOF) {
        return false;
    }
    *byte = (uint8_t)next_byte;
    next_byte = EOF;
    return true;
}

void port_mark_idle(void)
{
}

void port_wait(void)
{
    (void)fflush(stdout);
    next_byte = getchar();
    if (next_byte == EOF) {
        exit(EXIT_SUCCESS);
    }
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
