/* What the firmware needs from a board: a serial line, a timer, and facts about memory and faults. */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start the clock and the serial line. Call it once, before anything else here. */
void port_start(void);

/* The core clock in use, in Hz. */
uint32_t port_clock_hz(void);

/* The received bytes that lie one behind the other; returns how many. They stay until port_taken frees them. */
size_t port_received(const uint8_t **bytes);
void port_taken(size_t count);

/* How many received bytes are kept until port_taken frees them. */
uint32_t port_ring_bytes(void);

/* Change the serial line's rate, in bits per second, once all that was written is sent. */
void port_set_rate(uint32_t baud);

/* Tell a debugger that the board waits for a request. It may stop the core here and write to the memory. */
void port_mark_idle(void);

/* Sleep until there is a byte to read. */
void port_wait(void);

/* Send one byte; waits until there is room for it. */
void port_write(uint8_t byte);

/* The time since port_ticks_start, in ticks of the core clock; port_ticks_stop also stops the timer. */
void port_ticks_start(void);
uint64_t port_ticks_now(void);
uint64_t port_ticks_stop(void);

typedef struct {
    uint32_t static_bytes; /* everything in RAM except the stack */
    uint32_t stack_bytes;
    uint32_t stack_peak_bytes; /* deepest use since reset */
} port_memory_t;

port_memory_t port_memory(void);

#define PORT_FAULT_STACK_OVERFLOW 256u

typedef struct {
    uint32_t count;   /* since power-up */
    uint32_t cause;   /* an Arm exception number or PORT_FAULT_STACK_OVERFLOW; 0: no fault */
    uint32_t pc;      /* 0: unknown */
    uint32_t status;  /* CFSR */
    uint32_t address; /* BFAR */
} port_fault_t;

/* The last fault, which survives the reset that follows it. */
port_fault_t port_last_fault(void);

#endif
