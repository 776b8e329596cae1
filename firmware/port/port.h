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

/* Set the pin that is high while the model runs. Only boards whose file names one, `mark`, have it. */
void port_mark(bool on);

typedef struct {
    uint32_t static_bytes; /* everything in RAM except the stack */
    uint32_t stack_bytes;
    uint32_t stack_peak_bytes; /* deepest use since reset */
} port_memory_t;

port_memory_t port_memory(void);

#define PORT_FAULT_STACK_OVERFLOW 256u
#define PORT_FAULT_WATCHDOG 257u /* an inference that did not end */

typedef struct {
    uint32_t count;   /* since power-up */
    uint32_t cause;   /* an Arm exception number or a PORT_FAULT; 0: no fault */
    uint32_t pc;      /* 0: unknown */
    uint32_t status;  /* CFSR */
    uint32_t address; /* BFAR */
} port_fault_t;

/* The last fault, which survives the reset that follows it. */
port_fault_t port_last_fault(void);

/* What counts the ticks. */
#define PORT_TICKS_SYSTICK 1u
#define PORT_TICKS_CYCLE_COUNTER 2u
#define PORT_TICKS_MICROSECONDS 3u

/* Which interrupts run while the model does. */
#define PORT_INTERRUPTS_TAKEN_OFF 1u /* only the port's own, whose time is not in the ticks */
#define PORT_INTERRUPTS_MASKED 2u    /* those of the framework are masked */
#define PORT_INTERRUPTS_COUNTED 3u   /* those of the framework run, and their time is in the ticks */

/* What the last reset came from. */
#define PORT_RESET_UNKNOWN 0u
#define PORT_RESET_POWER 1u
#define PORT_RESET_PIN 2u
#define PORT_RESET_SOFTWARE 3u
#define PORT_RESET_WATCHDOG 4u /* one of the chip's own */
#define PORT_RESET_FAULT 5u    /* port_last_fault says which */

typedef struct {
    uint8_t tick_source;
    uint8_t interrupts;
    uint8_t reset;
    uint32_t tick_hz;
    uint32_t watchdog_ms; /* an inference that takes longer is a fault; 0: nothing ends one */
} port_facts_t;

port_facts_t port_facts(void);

#endif
