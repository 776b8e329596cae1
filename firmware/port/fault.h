/* The record of a fault. It lies in RAM that nothing initialises, so that it survives the reset after the fault. */
#ifndef FAULT_H
#define FAULT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "port.h"

typedef struct {
    uint32_t magic;
    port_fault_t fault;
    uint32_t check;
    uint32_t fresh; /* the reset that follows the fault is still to be seen */
} fault_record_t;

/* The fault in a record; all zero if the memory holds none. */
port_fault_t fault_read(const fault_record_t *record);

/* Whether the last reset came from the fault in the record. It is true once: the next reset has a cause of its own. */
bool fault_take_fresh(fault_record_t *record);

/* Record a fault.
 * `cause`: an Arm exception number or a PORT_FAULT.
 * `stacked`: where the core pushed r0-r3, r12, lr, pc and xpsr; NULL if that cannot be read. */
void fault_write(fault_record_t *record, uint32_t cause, const uint32_t *stacked);

/* The Arm exception that runs; SysTick's, which ends an inference that does not end by itself, as PORT_FAULT_WATCHDOG. */
uint32_t fault_cause(void);

/* How many ticks an inference may take at this core clock. */
uint64_t fault_watchdog_ticks(uint32_t clock_hz);

/* Reset the core. */
__attribute__((noreturn)) void fault_reset(void);

#ifdef __cplusplus
}
#endif

#endif
