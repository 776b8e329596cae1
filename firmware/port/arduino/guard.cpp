#include "guard.h"

#include "config.h"

#include <string.h>

#define REGISTER(address) (*reinterpret_cast<volatile uint32_t *>(address))

#define NVIC_LINES REGISTER(0xE000E004u) /* 32 more interrupts for each */
#define SYST_CSR_REGISTER REGISTER(0xE000E010u)
#define SYST_RVR_REGISTER REGISTER(0xE000E014u)
#define SYST_CVR_REGISTER REGISTER(0xE000E018u)
#define NVIC_ISER_REGISTER(n) REGISTER(0xE000E100u + (4u * (n)))
#define NVIC_ICER_REGISTER(n) REGISTER(0xE000E180u + (4u * (n)))
#define SCB_VTOR_REGISTER REGISTER(0xE000ED08u)
#define SCB_CCR_REGISTER REGISTER(0xE000ED14u)

#define CSR_ENABLE 1u
#define CSR_INTERRUPT 2u
#define CSR_CORE_CLOCK 4u
#define CSR_ENABLE_CORE_CLOCK_INTERRUPT 7u
#define CCR_DATA_CACHE (1u << 16)
#define SYSTICK_MAX 0x00FFFFFFu
#define RAM_BEGIN 0x20000000u /* where every Cortex-M has it */
#define RAM_END 0x40000000u

/* Both ways of an interrupt, and what is around the two readings of the counter. */
#define ENTRY_CYCLES 36u

/* Chips with little RAM have few interrupts. */
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define VECTORS_MAX 64u
#elif CONFIG_RAM_BYTES <= 65536
#define VECTORS_MAX 128u
#else
#define VECTORS_MAX 256u
#endif
#define FIRST_FAULT 3u /* HardFault, MemManage, BusFault, UsageFault */
#define LAST_FAULT 6u
#define SYSTICK 15u
#define CORE_VECTORS 16u
#define LINES_MAX 8u

#define FAULT_STACK_BYTES 256

typedef void (*vector_t)(void);

extern "C" {
void guard_fault_entry(void);
void guard_systick_entry(void);
void guard_fault(const uint32_t *stacked);
void guard_systick(const uint32_t *stacked);
/* After a fault the stack pointer may point anywhere. */
uint32_t guard_stack[FAULT_STACK_BYTES / 4] __attribute__((used, aligned(8)));
}

namespace
{

/* The core takes the table's address only in steps of its size. */
uint32_t table[VECTORS_MAX] __attribute__((aligned(4u * VECTORS_MAX)));

fault_record_t *fault_place;
const uint32_t *stack_end;
vector_t core_systick; /* nullptr: the core leaves SysTick alone, so it is ours */

bool can_watch;
volatile bool watching;
volatile uint64_t ticks_left;
const volatile uint32_t *counter; /* nullptr: nothing counts the core's cycles */
volatile uint32_t cycles_last;    /* what the counter was when ticks_left was right */
volatile uint32_t cycles_taken;
uint32_t enabled[LINES_MAX]; /* the interrupts that wait */

uint32_t lines()
{
    const uint32_t there = (NVIC_LINES & 15u) + 1u;
    return (there < LINES_MAX) ? there : LINES_MAX;
}

uint32_t address_of(vector_t handler)
{
    return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(handler));
}

/* The table that is in use, if it lies in RAM, or else a copy that then is; nullptr if this core has no such choice. */
uint32_t *own_vectors()
{
    const uint32_t now = SCB_VTOR_REGISTER;
    if ((now >= RAM_BEGIN) && (now < RAM_END)) {
        return reinterpret_cast<uint32_t *>(static_cast<uintptr_t>(now));
    }
    const uint32_t vectors = CORE_VECTORS + (32u * lines());
#if !defined(__ARM_ARCH_6M__)
    if ((SCB_CCR_REGISTER & CCR_DATA_CACHE) != 0u) { /* the core may not see what is written */
        return nullptr;
    }
#endif
    if (vectors > VECTORS_MAX) {
        return nullptr;
    }
    (void)memcpy(table, reinterpret_cast<const void *>(static_cast<uintptr_t>(now)), 4u * vectors);
    SCB_VTOR_REGISTER = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(table));
    __asm__ volatile("dsb" ::: "memory");
    return (SCB_VTOR_REGISTER == static_cast<uint32_t>(reinterpret_cast<uintptr_t>(table))) ? table : nullptr;
}

void record_and_reset(const uint32_t *stacked)
{
    const uintptr_t sp = reinterpret_cast<uintptr_t>(stacked);
    const bool readable = (sp > reinterpret_cast<uintptr_t>(fault_place)) && ((sp % 4u) == 0u) &&
                          (sp <= (reinterpret_cast<uintptr_t>(stack_end) - 32u));
    fault_write(fault_place, fault_cause(), readable ? stacked : nullptr);
    fault_reset();
}

} // namespace

extern "C" {

/* clang-format off */
__attribute__((naked)) void guard_fault_entry(void)
{
    __asm__("mrs r0, msp\n"
            "ldr r1, =guard_stack + 256\n"
            "mov sp, r1\n"
            "ldr r1, =guard_fault\n"
            "bx r1\n");
}

__attribute__((naked)) void guard_systick_entry(void)
{
    __asm__("mrs r0, msp\n"
            "ldr r1, =guard_systick\n"
            "bx r1\n");
}
/* clang-format on */

__attribute__((used)) void guard_fault(const uint32_t *stacked)
{
    record_and_reset(stacked);
}

__attribute__((used)) void guard_systick(const uint32_t *stacked)
{
    const volatile uint32_t *const cycles = watching ? counter : nullptr;
    const uint32_t before = (cycles != nullptr) ? *cycles : 0u;
    if (core_systick != nullptr) {
        core_systick();
    }
    if (!watching) {
        return;
    }
    /* A core may clock SysTick from elsewhere, so its reloads are no measure where the cycles are counted. Its control
     * register is not read here: that would clear the flag by which some cores' micros() sees a reload. */
    uint32_t period = SYST_RVR_REGISTER + 1u;
    if (cycles != nullptr) {
        period = before - cycles_last;
        cycles_last = before;
    }
    if (ticks_left < period) {
        record_and_reset(stacked);
    }
    ticks_left = ticks_left - period;
    if (cycles != nullptr) {
        cycles_taken = cycles_taken + (*cycles - before) + ENTRY_CYCLES;
    }
}

} // extern "C"

bool guard_start(fault_record_t *record, const uint32_t *stack_high, const volatile uint32_t *cycles)
{
    uint32_t *const vectors = own_vectors();
    if (vectors == nullptr) {
        return false;
    }
    fault_place = record;
    stack_end = stack_high;
    for (uint32_t i = FIRST_FAULT; i <= LAST_FAULT; i++) {
        vectors[i] = address_of(guard_fault_entry);
    }
    counter = cycles;
    const uint32_t control = SYST_CSR_REGISTER;
    can_watch = true;
    if ((control & CSR_ENABLE) != 0u) {
        can_watch =
            ((control & CSR_INTERRUPT) != 0u) && ((counter != nullptr) || ((control & CSR_CORE_CLOCK) != 0u));
        core_systick = reinterpret_cast<vector_t>(static_cast<uintptr_t>(vectors[SYSTICK]));
    }
    vectors[SYSTICK] = address_of(guard_systick_entry);
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    return true;
}

bool guard_watches(void)
{
    return can_watch;
}

void guard_enter(uint64_t ticks, bool mask)
{
    ticks_left = ticks;
    cycles_taken = 0u;
    (void)memset(enabled, 0, sizeof enabled);
    for (uint32_t i = 0u; mask && (i < lines()); i++) {
        enabled[i] = NVIC_ISER_REGISTER(i);
        NVIC_ICER_REGISTER(i) = enabled[i];
    }
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    cycles_last = (counter != nullptr) ? *counter : 0u;
    watching = can_watch;
    if (core_systick == nullptr) {
        SYST_RVR_REGISTER = SYSTICK_MAX;
        SYST_CVR_REGISTER = 0u;
        SYST_CSR_REGISTER = CSR_ENABLE_CORE_CLOCK_INTERRUPT;
    }
}

uint32_t guard_cycles_taken(void)
{
    return cycles_taken;
}

void guard_leave(void)
{
    watching = false;
    if (core_systick == nullptr) {
        SYST_CSR_REGISTER = 0u;
    }
    for (uint32_t i = 0u; i < lines(); i++) {
        NVIC_ISER_REGISTER(i) = enabled[i];
    }
}
