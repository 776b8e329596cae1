/* The receive buffer: an interrupt takes the bytes, so that none is lost while the model runs. */
#include "driver.h"
#include "port.h"

#include <stddef.h>

#define RING_BYTES 1024u /* a power of two; one element stays unused */

static uint8_t ring[RING_BYTES];
static volatile uint32_t ring_head; /* written only by the interrupt */
static volatile uint32_t ring_tail; /* written only by port_read */

void serial_received(uint8_t byte)
{
    const uint32_t head = ring_head;
    const uint32_t next = (head + 1u) % RING_BYTES;
    if (next != ring_tail) { /* if it is full, the byte is lost and the frame's CRC shows it */
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
    /* Interrupts are masked so that no byte arrives between the test and WFI; a pending
     * one still ends WFI. */
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
