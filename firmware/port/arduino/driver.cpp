/* The port for every core of the Arduino framework. The core has the vectors, start-up, clock, serial line and main;
 * it calls setup once and loop again and again.
 */
#include "framework.h"

#include "guard.h"
#include "linker.h"
#include "reset.h"

#include <string.h>

extern "C" {
#include "config.h"
#include "firmware.h"
#include "port/port.h"

void *_sbrk(int bytes);
#if defined(TEENSYDUINO) && defined(__IMXRT1062__)
extern unsigned long _estack; /* as the core declares it */
#endif
}

/* The core's serial line: the debug probe's UART, or USB. */
#ifndef TG_SERIAL
#define TG_SERIAL Serial
#endif

#define DEMCR_REGISTER (*reinterpret_cast<volatile uint32_t *>(0xE000EDFCu))
#define TRACE_ON (1u << 24)
#define DWT_CTRL_REGISTER (*reinterpret_cast<volatile uint32_t *>(0xE0001000u))
#define CTRL_COUNTS 1u
#define CYCCNT_REGISTER (*reinterpret_cast<volatile uint32_t *>(0xE0001004u))
#define LAR_REGISTER                                                                                         \
    (*reinterpret_cast<volatile uint32_t *>(0xE0001FB0u)) /* locks the others on a Cortex-M7 */
#define LAR_KEY 0xC5ACCE55u
#define VTOR_REGISTER (*reinterpret_cast<uint32_t *const *volatile *>(0xE000ED08u))

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define MAY_COUNT_CYCLES 0
#else
#define MAY_COUNT_CYCLES 1
#endif

namespace
{

const uint32_t STACK_PAINT = 0xA5C3A5C3u;
const uint32_t STACK_UNPAINTED_WORDS = 32u; /* below the stack pointer while painting */
const uint32_t HEAP_ROOM_BYTES = 64u;       /* between the heap's end and the paint */
const uint32_t MICROSECONDS = 1000000u;

/* Where Serial is the core's plain UART, nothing is lost while the model runs: the host sends nothing ahead. USB has to be
 * served at any time, or the host's system gives the board up; its classes only inherit from the UART's, if at all. */
__attribute__((unused)) bool is_uart(const HardwareSerial *)
{
    return true;
}

template <typename Line> bool is_uart(const Line *)
{
    return false;
}

uint8_t sending[64]; /* a packet of USB; one byte at a time would be one packet each */
size_t sending_used;
uint8_t receiving[64];
size_t receiving_used;

typedef struct {
    uint32_t all;   /* what the counter says */
    uint32_t taken; /* what the core's own tick took since guard_enter */
} cycles_t;

bool cycles_count;
cycles_t first;
uint32_t micros_first;

uint32_t *stack_low; /* nullptr: not known, as under an RTOS */
uint32_t *stack_high;

bool guarded;
fault_record_t *last_fault; /* below the stack, where nothing else is; nullptr: there is no place */
uint8_t reset_cause;

bool on_process_stack()
{
    uint32_t control;
    __asm__ volatile("mrs %0, control" : "=r"(control));
    return (control & 2u) != 0u;
}

uint32_t *stack_top()
{
#if defined(TEENSYDUINO) && defined(__IMXRT1062__)
    return reinterpret_cast<uint32_t *>(&_estack);
#else
    return *VTOR_REGISTER; /* the first vector */
#endif
}

/* An RTOS starts the sketch on a stack of its own, of which nothing is known. Otherwise the stack is painted, and the record
 * of a fault lies below the paint, where a start of the core changes nothing. */
__attribute__((noinline)) void look_at_stack()
{
    if (on_process_stack()) {
        return;
    }
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    const uintptr_t here = reinterpret_cast<uintptr_t>(sp);
    const uintptr_t heap = reinterpret_cast<uintptr_t>(_sbrk(0)) + HEAP_ROOM_BYTES;
    const uintptr_t least = here - CONFIG_STACK_BYTES - sizeof(fault_record_t);
    const uintptr_t low = ((heap > least) && (heap < here)) ? heap : least;
    last_fault = reinterpret_cast<fault_record_t *>((low + 7u) & ~static_cast<uintptr_t>(7u));
    stack_low = reinterpret_cast<uint32_t *>(last_fault + 1);
    stack_high = stack_top();
    /* volatile, or the compiler makes this a call of memset, which would overwrite its own frame. */
    for (volatile uint32_t *p = stack_low; p < (sp - STACK_UNPAINTED_WORDS); p++) {
        *p = STACK_PAINT;
    }
}

/* A core without the counter, or one that a debugger has locked, gets its ticks from micros(). */
void start_cycle_counter()
{
#if MAY_COUNT_CYCLES
    DEMCR_REGISTER = DEMCR_REGISTER | TRACE_ON;
    LAR_REGISTER = LAR_KEY;
    CYCCNT_REGISTER = 0u;
    DWT_CTRL_REGISTER = DWT_CTRL_REGISTER | CTRL_COUNTS;
    const uint32_t before = CYCCNT_REGISTER;
    for (volatile uint32_t i = 0u; i < 16u; i = i + 1u) {
    }
    cycles_count = CYCCNT_REGISTER != before;
#endif
}

/* Both of the same moment: no tick of the core's lies between the readings. */
cycles_t cycles_now()
{
    cycles_t now = {0u, 0u};
    do {
        now.taken = guarded ? guard_cycles_taken() : 0u;
        now.all = cycles_count ? CYCCNT_REGISTER : 0u;
    } while (guarded && (guard_cycles_taken() != now.taken));
    return now;
}

void flush_sending()
{
    size_t sent = 0u;
    while (sent < sending_used) {
        const size_t taken = TG_SERIAL.write(sending + sent, sending_used - sent);
        if ((taken == 0u) && !TG_SERIAL) { /* nobody listens: the host asks again */
            break;
        }
        sent += taken;
        if (taken == 0u) {
            yield();
        }
    }
    sending_used = 0u;
}

} // namespace

extern "C" {

void port_start(void)
{
    reset_cause = reset_told();
    look_at_stack();
    start_cycle_counter();
    if (last_fault != nullptr) {
        reset_cause = fault_take_fresh(last_fault) ? PORT_RESET_FAULT : reset_cause;
        guarded = guard_start(last_fault, stack_high, cycles_count ? &CYCCNT_REGISTER : nullptr);
    }
    TG_SERIAL.begin(CONFIG_UART_BAUD);
#ifdef CONFIG_MARK_PIN
    pinMode(CONFIG_MARK_PIN, OUTPUT);
    port_mark(false);
#endif
}

#ifdef CONFIG_MARK_PIN
void port_mark(bool on)
{
    digitalWrite(CONFIG_MARK_PIN, on ? HIGH : LOW);
}
#endif

uint32_t port_clock_hz(void)
{
#if defined(ARDUINO_ARCH_RP2040) && !defined(ARDUINO_ARCH_MBED)
    return static_cast<uint32_t>(rp2040.f_cpu());
#elif defined(TEENSYDUINO) && defined(__IMXRT1062__)
    return F_CPU_ACTUAL;
#elif defined(TEENSYDUINO)
    return F_CPU;
#else
    return SystemCoreClock;
#endif
}

size_t port_received(const uint8_t **bytes)
{
    while (receiving_used < sizeof receiving) {
        const int received = TG_SERIAL.read();
        if (received < 0) {
            break;
        }
        receiving[receiving_used] = static_cast<uint8_t>(received);
        receiving_used++;
    }
    *bytes = receiving;
    return receiving_used;
}

void port_taken(size_t count)
{
    receiving_used -= count;
    (void)memmove(receiving, receiving + count, receiving_used);
}

/* What the core's own line keeps while the model runs differs from core to core: the host sends nothing ahead. */
uint32_t port_ring_bytes(void)
{
    return 0u;
}

void port_set_rate(uint32_t baud)
{
    flush_sending();
    TG_SERIAL.flush();
    TG_SERIAL.begin(baud);
}

/* The bulk line is not used: a framework's interrupts make no two measurements of time alike. */
void port_mark_idle(void)
{
}

/* The core's loop goes on at once: what it does between two calls, such as USB, must not wait. */
void port_wait(void)
{
    if (sending_used != 0u) {
        flush_sending();
#if defined(TEENSYDUINO)
        TG_SERIAL.send_now();
#endif
    }
    yield();
}

void port_write(uint8_t value)
{
    sending[sending_used] = value;
    sending_used++;
    if (sending_used == sizeof sending) {
        flush_sending();
    }
}

void port_ticks_start(void)
{
    port_wait(); /* what is left of the answer before, which would otherwise wait for the end of this inference */
    if (guarded) {
        TG_SERIAL.flush(); /* the UART sends by interrupts */
        guard_enter(fault_watchdog_ticks(port_clock_hz()), is_uart(&TG_SERIAL));
    }
    micros_first = static_cast<uint32_t>(micros());
    first = cycles_now();
}

/* The cycles of the core, or microseconds. */
uint64_t port_ticks_now(void)
{
    const cycles_t now = cycles_now();
    const uint32_t cycles = now.all - first.all;
    const uint32_t passed = static_cast<uint32_t>(micros()) - micros_first;
    if (!cycles_count) {
        return (passed != 0u) ? passed : 1u;
    }
    /* The counter wraps every 2^32 cycles; the microseconds say how often it has. */
    const uint64_t near = (static_cast<uint64_t>(passed) * port_clock_hz()) / MICROSECONDS;
    const int64_t off = static_cast<int64_t>(near) - static_cast<int64_t>(cycles);
    const int64_t wraps = (off + (INT64_C(1) << 31)) >> 32;
    const uint64_t whole = static_cast<uint64_t>((wraps > 0) ? (wraps << 32) : 0) + cycles;
    return whole - (now.taken - first.taken);
}

uint64_t port_ticks_stop(void)
{
    const uint64_t passed = port_ticks_now();
    if (guarded) {
        guard_leave();
    }
    return passed;
}

port_memory_t port_memory(void)
{
    const uint32_t *deepest = stack_low;
    while ((deepest < stack_high) && (*deepest == STACK_PAINT)) {
        deepest++;
    }
    const uintptr_t high = reinterpret_cast<uintptr_t>(stack_high);
    port_memory_t memory;
    memory.static_bytes = linker_static_bytes();
    memory.stack_bytes = static_cast<uint32_t>(high - reinterpret_cast<uintptr_t>(stack_low));
    memory.stack_peak_bytes = static_cast<uint32_t>(high - reinterpret_cast<uintptr_t>(deepest));
    return memory;
}

port_fault_t port_last_fault(void)
{
    const port_fault_t none = {0u, 0u, 0u, 0u, 0u};
    return (last_fault != nullptr) ? fault_read(last_fault) : none;
}

port_facts_t port_facts(void)
{
    const uint64_t watchdog = fault_watchdog_ticks(port_clock_hz());
    port_facts_t facts;
    facts.tick_source = cycles_count ? PORT_TICKS_CYCLE_COUNTER : PORT_TICKS_MICROSECONDS;
    facts.interrupts = (guarded && is_uart(&TG_SERIAL)) ? PORT_INTERRUPTS_MASKED : PORT_INTERRUPTS_COUNTED;
    facts.reset = reset_cause;
    facts.tick_hz = cycles_count ? port_clock_hz() : MICROSECONDS;
    const bool watched = guarded && guard_watches();
    facts.watchdog_ms = watched ? static_cast<uint32_t>((watchdog * 1000u) / port_clock_hz()) : 0u;
    return facts;
}

} // extern "C"

void setup()
{
    firmware_start();
}

void loop()
{
    firmware_poll();
}
