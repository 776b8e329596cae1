/* What the firmware needs of a board: one serial line, one timer, and facts about memory and faults. */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stdint.h>

/* Clock and serial line. Call once, first. */
void port_start(void);

/* The core clock in use. */
uint32_t port_clock_hz(void);

/* The next received byte, if there is one. */
bool port_read(uint8_t *byte);

/* Sleep until a byte is there. */
void port_wait(void);

/* Send one byte; waits for room. */
void port_write(uint8_t byte);

/* Time since port_ticks_start, in ticks of the core clock. */
void port_ticks_start(void);
uint64_t port_ticks_now(void);
uint64_t port_ticks_stop(void);

typedef struct {
    uint32_t static_bytes; /* everything in RAM but the stack */
    uint32_t stack_bytes;
    uint32_t stack_peak_bytes; /* deepest use since reset */
} port_memory_t;

port_memory_t port_memory(void);

#define PORT_FAULT_STACK_OVERFLOW 256u

typedef struct {
    uint32_t count; /* since power-up */
    uint32_t cause; /* 0: none; an Arm exception number, or PORT_FAULT_STACK_OVERFLOW */
    uint32_t pc;    /* 0: not known */
    uint32_t status;
    uint32_t address;
} port_fault_t;

/* The last fault, kept over the reset that followed it. */
port_fault_t port_last_fault(void);

#endif
