/* Start-up, serial line and clock of the stand-in, on the MPS2 boards' CMSDK UART and SysTick. */
#include "Arduino.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_DATA REG(0x40004000u)
#define UART_STATE REG(0x40004004u)
#define UART_CTRL REG(0x40004008u)
#define UART_INT REG(0x4000400Cu)
#define UART_BAUDDIV REG(0x40004010u)
#define SYST_CSR REG(0xE000E010u)
#define SYST_RVR REG(0xE000E014u)
#define SYST_CVR REG(0xE000E018u)
#define NVIC_ISER REG(0xE000E100u)

extern "C" {
extern uint32_t _estack[], _sidata[], _sdata[], _edata[], _sbss[], _ebss[], _end[];

uint32_t SystemCoreClock = 25000000u;
static volatile uint32_t milliseconds;
static volatile uint32_t head, tail;
static uint8_t ring[1024];
static char *heap = (char *)_end;

void *_sbrk(int bytes)
{
    char *was = heap;
    heap += bytes;
    return was;
}

void systick(void)
{
    milliseconds++;
}

void received(void)
{
    while (UART_STATE & 2u) {
        UART_INT = 2u;
        const uint8_t byte = (uint8_t)UART_DATA;
        if ((head + 1u) % sizeof ring != tail) {
            ring[head] = byte;
            head = (head + 1u) % sizeof ring;
        }
    }
}

unsigned long micros(void)
{
    uint32_t whole, part;
    do {
        whole = milliseconds;
        part = SYST_CVR;
    } while (whole != milliseconds);
    return whole * 1000u + (24999u - part) / 25u;
}

void yield(void)
{
}

/* GPIO 0 of the CMSDK, which QEMU can log every write to. */
void pinMode(uint32_t pin, uint32_t mode)
{
    REG(0x40010000u + (mode == OUTPUT ? 0x10u : 0x14u)) = 1u << pin;
}

void digitalWrite(uint32_t pin, uint32_t level)
{
    REG(0x40010400u + (4u << pin)) = level << pin; /* a masked access: the address says which pin */
}

void reset(void)
{
    for (uint32_t *from = _sidata, *to = _sdata; to < _edata;) {
        *to++ = *from++;
    }
    for (uint32_t *to = _sbss; to < _ebss;) {
        *to++ = 0u;
    }
    SYST_RVR = 24999u;
    SYST_CVR = 0u;
    SYST_CSR = 7u;
    setup();
    for (;;) {
        loop();
    }
}

void stuck(void)
{
    for (;;) {
    }
}

typedef void (*vector_t)(void);
__attribute__((section(".vectors"), used)) extern const struct {
    uint32_t *stack;
    vector_t handler[16];
} vectors = {
    _estack,
    {reset, stuck, stuck, stuck, stuck, stuck, 0, 0, 0, 0, stuck, stuck, 0, stuck, systick, received}};
}

void HardwareSerial::begin(unsigned long baud)
{
    UART_BAUDDIV = SystemCoreClock / baud;
    UART_CTRL = 1u | 2u | 8u;
    NVIC_ISER = 1u;
}

int HardwareSerial::available()
{
    return (int)((head - tail) % sizeof ring);
}

int HardwareSerial::read()
{
    if (head == tail) {
        return -1;
    }
    const uint8_t byte = ring[tail];
    tail = (tail + 1u) % sizeof ring;
    return byte;
}

size_t HardwareSerial::write(const uint8_t *bytes, size_t count)
{
    const size_t some = count < 7u ? count : 7u; /* never all at once, so that callers have to go on */
    for (size_t i = 0; i < some; i++) {
        while (UART_STATE & 1u) {
        }
        UART_DATA = bytes[i];
    }
    return some;
}

void HardwareSerial::flush()
{
}

HardwareSerial Serial;
