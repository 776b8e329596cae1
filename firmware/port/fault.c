#include "fault.h"

#include "config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_CFSR REGISTER(0xE000ED28u)
#define SCB_BFAR REGISTER(0xE000ED38u)
#define AIRCR_RESET 0x05FA0004u

#define MAGIC 0x7A17FA17u
#define FRESH 0xF4E5F4E5u
#define SYSTICK_EXCEPTION 15u
#define STACKED_PC 6u

/* No engine comes near: the slowest kernels take 100 cycles a multiply-accumulate, and emulators that count ten ticks an
 * instruction have to get by as well. */
#define WATCHDOG_TICKS_PER_MAC 400u
#define WATCHDOG_TICKS_PER_ELEMENT 10000u /* of ops that multiply nothing, such as one in software floats */
#define WATCHDOG_SECONDS 1u               /* for what goes on around the layers */

static uint32_t check_of(const port_fault_t *fault)
{
    return ~(MAGIC ^ fault->count ^ fault->cause ^ fault->pc ^ fault->status ^ fault->address);
}

static bool is_whole(const fault_record_t *record)
{
    return (record->magic == MAGIC) && (record->check == check_of(&record->fault));
}

port_fault_t fault_read(const fault_record_t *record)
{
    const port_fault_t none = {0};
    return is_whole(record) ? record->fault : none;
}

bool fault_take_fresh(fault_record_t *record)
{
    const bool fresh = is_whole(record) && (record->fresh == FRESH);
    record->fresh = 0u;
    return fresh;
}

void fault_write(fault_record_t *record, uint32_t cause, const uint32_t *stacked)
{
    const uint32_t count = fault_read(record).count;
    record->magic = MAGIC;
    record->fault = (port_fault_t){
        .count = count + 1u,
        .cause = cause,
        .pc = (stacked != NULL) ? stacked[STACKED_PC] : 0u,
        .status = SCB_CFSR,
        .address = SCB_BFAR,
    };
    record->check = check_of(&record->fault);
    record->fresh = FRESH;
}

uint32_t fault_cause(void)
{
    uint32_t exception;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    return (exception == SYSTICK_EXCEPTION) ? PORT_FAULT_WATCHDOG : exception;
}

uint64_t fault_watchdog_ticks(uint32_t clock_hz)
{
    return ((uint64_t)CONFIG_MACS * WATCHDOG_TICKS_PER_MAC) +
           ((uint64_t)CONFIG_ELEMENTS * WATCHDOG_TICKS_PER_ELEMENT) + ((uint64_t)clock_hz * WATCHDOG_SECONDS);
}

void fault_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_RESET;
    for (;;) {
    }
}
