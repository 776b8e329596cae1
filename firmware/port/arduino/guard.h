/* Watches over the model on a framework: a fault or an endless loop is recorded and resets the board, and where the serial
 * line allows it the framework's interrupts wait until the model is done. */
#ifndef GUARD_H
#define GUARD_H

#include "port/fault.h"

/* Put handlers for faults and SysTick in front of the core's own.
 * `record`: where faults are recorded. `stack_high`: the end of the stack. `cycles`: the cycle counter's register,
 * or NULL if nothing counts there.
 * Returns false where the vectors cannot be changed; then nothing else here may be called. */
bool guard_start(fault_record_t *record, const uint32_t *stack_high, const volatile uint32_t *cycles);

/* Whether an endless loop is ended. It is not where the core's SysTick raises no interrupt, or where it runs from another
 * clock than the core and no counter tells the cycles. */
bool guard_watches(void);

/* The model begins: it has this many cycles of the core. `mask` keeps the interrupts of the chip's peripherals waiting. */
void guard_enter(uint64_t ticks, bool mask);

/* The cycles since guard_enter that the core's own tick took; 0 without a cycle counter. */
uint32_t guard_cycles_taken(void);

/* The model is done. */
void guard_leave(void);

#endif
