/* The firmware's port on a host whose time a test keeps (tests/support/modelled_line.py). Whatever takes time is told to
 * the test on standard output, which answers on standard input with the bytes that the UART received meanwhile. */
#include "port/port.h"

#include <stdio.h>
#include <stdlib.h>

#define WRITTEN_MAX 65536u

static uint8_t *ring;
static uint32_t ring_bytes;
static uint32_t head;
static uint32_t tail;
static uint32_t taken; /* bytes that the firmware took since the last event */
static uint8_t written[WRITTEN_MAX];
static uint32_t written_bytes;

static void put_number(uint32_t value)
{
    for (uint32_t i = 0u; i < 4u; i++) {
        (void)putchar((int)((value >> (8u * i)) & 255u));
    }
}

static uint32_t get_number(void)
{
    uint32_t value = 0u;
    for (uint32_t i = 0u; i < 4u; i++) {
        const int byte = getchar();
        if (byte == EOF) {
            exit(EXIT_SUCCESS);
        }
        value |= (uint32_t)byte << (8u * i);
    }
    return value;
}

/* An event: its kind, the bytes taken since the last, and a number. */
static void happens(char kind, uint32_t number, const uint8_t *bytes, uint32_t count)
{
    (void)putchar(kind);
    put_number(taken);
    put_number(number);
    for (uint32_t i = 0u; i < count; i++) {
        (void)putchar(bytes[i]);
    }
    (void)fflush(stdout);
    taken = 0u;
    for (uint32_t left = get_number(); left > 0u; left--) {
        const uint8_t byte = (uint8_t)getchar();
        const uint32_t next = (head + 1u) % ring_bytes;
        if (next != tail) {
            ring[head] = byte;
            head = next;
        }
    }
}

static void send_written(void)
{
    if (written_bytes > 0u) {
        const uint32_t count = written_bytes;
        written_bytes = 0u;
        happens('W', count, written, count);
    }
}

void port_start(void)
{
    ring_bytes = 1u + get_number();
    ring = malloc(ring_bytes);
}

size_t port_received(const uint8_t **bytes)
{
    send_written();
    *bytes = ring + tail;
    return ((head >= tail) ? head : ring_bytes) - tail;
}

void port_taken(size_t count)
{
    tail = (tail + (uint32_t)count) % ring_bytes;
    taken += (uint32_t)count;
}

uint32_t port_ring_bytes(void)
{
    return ring_bytes - 1u;
}

void port_set_rate(uint32_t baud)
{
    send_written();
    happens('R', baud, NULL, 0u);
}

void port_wait(void)
{
    send_written();
    if (head == tail) {
        happens('S', 0u, NULL, 0u);
    }
}

void port_write(uint8_t byte)
{
    if (written_bytes == WRITTEN_MAX) {
        abort();
    }
    written[written_bytes] = byte;
    written_bytes++;
}

void port_ticks_start(void)
{
    send_written();
    happens('C', 0u, NULL, 0u);
}

uint64_t port_ticks_stop(void)
{
    return 40000u;
}
