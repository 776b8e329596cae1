/* The receive buffer: bytes are taken by interrupt, so none is lost while the model runs. */
#include "driver.h"
#include "port.h"

#include <stddef.h>

#define RING_BYTES 1024u /* a power of two; one place stays empty */

static uint8_t ring[RING_BYTES];
static volatile uint32_t ring_head; /* written by the interrupt alone */
static volatile uint32_t ring_tail; /* written by port_read alone */

void serial_received(uint8_t byte)
{
    const uint32_t head = ring_head;
    const uint32_t next = (head + 1u) % RING_BYTES;
    if (next != ring_tail) { /* full: the byte is lost, and the frame's CRC tells */
        ring[head] = byte;
        ring_head = next;
    }
}

bool port_read(uint8_t *byte)
{
    const uint32_t tail = ring_tail;
    if (tail == ring_head) {
        return false;
    }
    *byte = ring[tail];
    ring_tail = (tail + 1u) % RING_BYTES;
    return true;
}

void port_wait(void)
{
    /* With interrupts masked nothing arrives between the look and the sleep; a pending one still ends WFI. */
    __asm__ volatile("cpsid i" ::: "memory");
    if (ring_tail == ring_head) {
        __asm__ volatile("wfi" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

void port_write(uint8_t byte)
{
    uart_write(byte);
}
