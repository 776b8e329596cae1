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

size_t port_received(const uint8_t **bytes)
{
    *bytes = &next_byte;
    return has_byte ? 1u : 0u;
}

void port_taken(size_t count)
{
    has_byte = has_byte && (count == 0u);
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
