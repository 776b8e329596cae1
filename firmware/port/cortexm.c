/* What all Cortex-M boards share: start-up, vectors, faults, SysTick and the depth of the stack. */
#include "config.h"
#include "driver.h"
#include "fault.h"
#include "port.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define NVIC_ISER(n) REGISTER(0xE000E100u + (4u * (n)))
#define SCB_CPUID REGISTER(0xE000ED00u)
#define SCB_ICSR REGISTER(0xE000ED04u)
#define SCB_VTOR REGISTER(0xE000ED08u)
#define SCB_CPACR REGISTER(0xE000ED88u)

#define CSR_ENABLE_CORE_CLOCK_INTERRUPT 7u
#define SYSTICK_MAX 0x00FFFFFFu
#define ICSR_SYSTICK_PENDING (1u << 26)
#define ICSR_SYSTICK_UNPEND (1u << 25)
#define CPACR_FULL_ACCESS (15u << 20) /* coprocessors 10 and 11: floats and vectors */

#define STACK_PAINT 0xA5C3A5C3u
#define STACK_UNPAINTED_WORDS 16u /* below the stack pointer while painting */

/* Defined by the linker script. */
extern uint32_t ld_stack_start[];
extern uint32_t ld_stack_end[];
extern uint32_t ld_static_start[];
extern uint32_t ld_static_end[];
extern uint32_t ld_data_load[];
extern uint32_t ld_data_start[];
extern uint32_t ld_data_end[];
extern uint32_t ld_bss_start[];
extern uint32_t ld_bss_end[];

typedef void (*vector_t)(void);
typedef void (*constructor_t)(void);

extern const constructor_t ld_constructors_start[];
extern const constructor_t ld_constructors_end[];

int main(void);
void reset_entry(void);
void fault_entry(void);
void fault_save_and_reset(const uint32_t *stacked);
void systick_entry(void);
void systick_interrupt(const uint32_t *stacked);
void uart_entry(void);

/* After a fault the stack pointer may point anywhere, so the handler has a stack of its own. */
#define FAULT_STACK_BYTES 256
static uint32_t fault_stack[FAULT_STACK_BYTES / 4] __attribute__((used, aligned(8)));

static fault_record_t last_fault __attribute__((section(".noinit")));
static uint32_t clock_hz;
static uint8_t reset_cause;
static uint32_t watchdog_wraps; /* the model has to be done by then */
static uint32_t ticks_first;
static volatile uint32_t ticks_wraps;
static volatile uint32_t ticks_interrupted; /* what receiving took while the model ran */

port_fault_t port_last_fault(void)
{
    return fault_read(&last_fault);
}

/* `stacked` is where the core pushed r0-r3, r12, lr, pc and xpsr, if there was stack left for them. */
__attribute__((used)) void fault_save_and_reset(const uint32_t *stacked)
{
    const uintptr_t sp = (uintptr_t)stacked;
    const bool overflow = sp < (uintptr_t)ld_stack_start;
    const bool readable = !overflow && (sp <= ((uintptr_t)ld_stack_end - 32u)) && ((sp % 4u) == 0u);
    fault_write(&last_fault, overflow ? PORT_FAULT_STACK_OVERFLOW : fault_cause(), readable ? stacked : NULL);
    fault_reset();
}

#define TEXT_OF(macro) TEXT(macro)
#define TEXT(token) #token

/* clang-format off */
__attribute__((naked)) void fault_entry(void)
{
    __asm__("mrs r0, msp\n"
            "ldr r1, =fault_stack + " TEXT_OF(FAULT_STACK_BYTES) "\n"
            "mov sp, r1\n"
            "b fault_save_and_reset\n");
}

/* Only the exception itself can tell where the core left what it interrupted. */
__attribute__((naked)) void systick_entry(void)
{
    __asm__("mrs r0, msp\n"
            "b systick_interrupt\n");
}
/* clang-format on */

/* A model in an endless loop is a fault like any other: it is recorded, with the place in the loop. */
__attribute__((used)) void systick_interrupt(const uint32_t *stacked)
{
    ticks_wraps++;
    if (ticks_wraps >= watchdog_wraps) {
        fault_save_and_reset(stacked);
    }
}

/* The core takes some 12 cycles into an interrupt and as many out of it, and what is around the two readings here as
 * many again. */
#define ENTRY_TICKS 36u

/* The timer counts down. While it is off, nobody looks at what this adds. */
void uart_entry(void)
{
    const uint32_t before = SYST_CVR;
    uart_interrupt();
    ticks_interrupted += ((before - SYST_CVR) & SYSTICK_MAX) + ENTRY_TICKS;
}

/* An interrupt without a handler reads a zero vector, which faults. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector_t handler[15 + CONFIG_UART_IRQ + 1];
} vectors = {
    .stack = ld_stack_end,
    .handler =
        {
            [0] = reset_entry,
            [1] = fault_entry, /* NMI */
            [2] = fault_entry, /* HardFault */
            [3] = fault_entry, /* MemManage */
            [4] = fault_entry, /* BusFault */
            [5] = fault_entry, /* UsageFault */
            [14] = systick_entry,
            [15 + CONFIG_UART_IRQ] = uart_entry,
        },
};

static void paint_stack(void)
{
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    /* volatile, or the compiler makes this a call of memset, which would overwrite its own frame. */
    for (volatile uint32_t *p = ld_stack_start; p < (sp - STACK_UNPAINTED_WORDS); p++) {
        *p = STACK_PAINT;
    }
}

static size_t bytes_between(const uint32_t *start, const uint32_t *end)
{
    return (size_t)((uintptr_t)end - (uintptr_t)start);
}

__attribute__((noreturn)) void reset_entry(void)
{
    /* A boot loader may leave its own vectors, interrupts and timer behind. */
    __asm__ volatile("cpsid i" ::: "memory");
    SYST_CSR = 0u;
    SCB_VTOR = (uint32_t)(uintptr_t)&vectors;
#if defined(__ARM_FEATURE_MVE)
    SCB_CPACR |= CPACR_FULL_ACCESS; /* the compiler may use vectors anywhere from here on */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif

    paint_stack();
    (void)memcpy(ld_data_start, ld_data_load, bytes_between(ld_data_start, ld_data_end));
    (void)memset(ld_bss_start, 0, bytes_between(ld_bss_start, ld_bss_end));
    for (const constructor_t *constructor = ld_constructors_start; constructor < ld_constructors_end;
         constructor++) {
        (*constructor)();
    }
    (void)main();
    fault_reset();
}

/* The C library's abort needs an operating system. This one faults; the fault is recorded, and the host reads
 * it. */
void abort(void)
{
    __builtin_trap();
}

void core_enable_uart_interrupt(void)
{
    NVIC_ISER(CONFIG_UART_IRQ / 32u) = 1u << (CONFIG_UART_IRQ % 32u);
}

/* A driver whose chip keeps the cause of a reset has its own. */
__attribute__((weak)) uint8_t clock_reset_cause(void)
{
    return PORT_RESET_UNKNOWN;
}

void port_start(void)
{
    const uint8_t told = clock_reset_cause();
    reset_cause = fault_take_fresh(&last_fault) ? PORT_RESET_FAULT : told;
    clock_hz = clock_start();
    watchdog_wraps = (uint32_t)(fault_watchdog_ticks(clock_hz) >> 24) + 1u;
    uart_start();
#ifdef CONFIG_MARK_PIN
    mark_start();
#endif
    __asm__ volatile("cpsie i" ::: "memory");
}

uint32_t port_clock_hz(void)
{
    return clock_hz;
}

/* A read without effect that nothing else does, so that a debugger can stop the core here by a watchpoint. Emulated
 * boards have no hardware breakpoints: QEMU forgets all translated code at one, and translates it again. */
void port_mark_idle(void)
{
    (void)SCB_CPUID;
}

/* The timer runs only from start to stop: nothing wakes an idle board, and all measurements start alike. */
void port_ticks_start(void)
{
    ticks_wraps = 0u;
    ticks_interrupted = 0u;
    SYST_RVR = SYSTICK_MAX;
    SYST_CVR = 0u;
    SYST_CSR = CSR_ENABLE_CORE_CLOCK_INTERRUPT;
    do { /* the counter is zero until the first reload */
        ticks_first = SYST_CVR;
    } while (ticks_first == 0u);
}

/* Call it with interrupts masked. */
static uint64_t ticks_passed(void)
{
    uint32_t wraps = ticks_wraps;
    uint32_t now = SYST_CVR;
    if ((SCB_ICSR & ICSR_SYSTICK_PENDING) != 0u) { /* the counter wrapped before or after it was read */
        wraps++;
        now = SYST_CVR;
    }
    return ((uint64_t)wraps << 24) + ticks_first - now - ticks_interrupted;
}

uint64_t port_ticks_now(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    const uint64_t passed = ticks_passed();
    __asm__ volatile("cpsie i" ::: "memory");
    return passed;
}

uint64_t port_ticks_stop(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    const uint64_t passed = ticks_passed();
    SYST_CSR = 0u;
    SCB_ICSR = ICSR_SYSTICK_UNPEND;
    __asm__ volatile("cpsie i" ::: "memory");
    return passed;
}

port_memory_t port_memory(void)
{
    const uint32_t *deepest = ld_stack_start;
    while ((deepest < ld_stack_end) && (*deepest == STACK_PAINT)) {
        deepest++;
    }
    return (port_memory_t){
        .static_bytes = (uint32_t)bytes_between(ld_static_start, ld_static_end),
        .stack_bytes = (uint32_t)bytes_between(ld_stack_start, ld_stack_end),
        .stack_peak_bytes = (uint32_t)bytes_between(deepest, ld_stack_end),
    };
}

port_facts_t port_facts(void)
{
    /* In 32 bits: a division of 64 is 0.7 kB of code. */
    const uint32_t wrap_ms = (SYSTICK_MAX + 1u) / (clock_hz / 1000u);
    return (port_facts_t){
        .tick_source = PORT_TICKS_SYSTICK,
        .interrupts = PORT_INTERRUPTS_TAKEN_OFF,
        .reset = reset_cause,
        .tick_hz = clock_hz,
        .watchdog_ms = watchdog_wraps * wrap_ms,
    };
}
