/* The receive buffer: an interrupt takes the bytes, so that none is lost while the model runs. */
#include "config.h"
#include "driver.h"
#include "port.h"

#include <stddef.h>

/* The linker script gives the buffer what RAM is left over, within bounds; one element stays unused. */
extern uint8_t ld_ring_start[];
extern uint8_t ld_ring_end[];

/* UARTs hold up to 32 bytes and the one that is being sent. */
#define UART_BYTES_HELD 40u
#define BITS_PER_BYTE_SENT 10u

static uint8_t *volatile ring_head = ld_ring_start; /* written only by the interrupt */
static uint8_t *volatile ring_tail = ld_ring_start; /* written only by port_taken */

static uint8_t *after(uint8_t *place)
{
    return ((place + 1) == ld_ring_end) ? ld_ring_start : (place + 1);
}

uint32_t port_ring_bytes(void)
{
    return (uint32_t)((uintptr_t)ld_ring_end - (uintptr_t)ld_ring_start) - 1u;
}

void serial_received(uint8_t byte)
{
    uint8_t *const head = ring_head;
    uint8_t *const next = after(head);
    if (next != ring_tail) { /* if it is full, the byte is lost and the frame's CRC shows it */
        *head = byte;
        ring_head = next;
    }
}

size_t port_received(const uint8_t **bytes)
{
    uint8_t *const tail = ring_tail;
    uint8_t *const head = ring_head;
    *bytes = tail;
    return (size_t)(((head >= tail) ? head : ld_ring_end) - tail);
}

void port_taken(size_t count)
{
    uint8_t *const tail = ring_tail + count;
    ring_tail = (tail == ld_ring_end) ? ld_ring_start : tail;
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

void port_set_rate(uint32_t baud)
{
    /* UARTs tell differently whether they are done. A turn of this loop takes at least a cycle, so it is long enough
     * at the slowest rate, the one from reset. */
    const uint32_t cycles = (CONFIG_CLOCK_HZ / CONFIG_UART_BAUD) * BITS_PER_BYTE_SENT * UART_BYTES_HELD;
    for (volatile uint32_t i = 0u; i < cycles; i++) {
    }
    uart_set_rate(baud);
}
