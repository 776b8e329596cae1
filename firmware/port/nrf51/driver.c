/* The UART of the nRF51. The core runs at 16 MHz from reset. */
#include "port/driver.h"
#include "config.h"
#include "port/port.h"

#define REGISTER(offset) (*(volatile uint32_t *)(CONFIG_UART_BASE + (offset)))

#define RESET_REASON (*(volatile uint32_t *)0x40000400u)
#define REASON_PIN (1u << 0)
#define REASON_WATCHDOG (1u << 1)
#define REASON_SOFTWARE (1u << 2)

#define TASK_START_RX REGISTER(0x000u)
#define TASK_START_TX REGISTER(0x008u)
#define EVENT_RECEIVED REGISTER(0x108u)
#define EVENT_SENT REGISTER(0x11Cu)
#define INTERRUPT_SET REGISTER(0x304u)
#define ENABLE REGISTER(0x500u)
#define RX_DATA REGISTER(0x518u)
#define TX_DATA REGISTER(0x51Cu)
#define BAUD_RATE REGISTER(0x524u)

#define ENABLE_UART 4u
#define INTERRUPT_RECEIVED (1u << 2)
#if CONFIG_UART_BAUD == 115200u
#define BAUD_RATE_VALUE 0x01D7E000u
#else
#define BAUD_RATE_VALUE 0x00275000u /* 9600 */
#endif

/* Power-on and brown-out set nothing. */
uint8_t clock_reset_cause(void)
{
    const uint32_t reasons = RESET_REASON;
    RESET_REASON = reasons; /* ones clear; they add up otherwise */
    if ((reasons & REASON_WATCHDOG) != 0u) {
        return PORT_RESET_WATCHDOG;
    }
    if ((reasons & REASON_PIN) != 0u) {
        return PORT_RESET_PIN;
    }
    if ((reasons & REASON_SOFTWARE) != 0u) {
        return PORT_RESET_SOFTWARE;
    }
    return (reasons == 0u) ? PORT_RESET_POWER : PORT_RESET_UNKNOWN;
}

uint32_t clock_start(void)
{
    return CONFIG_CLOCK_HZ;
}

void uart_start(void)
{
    BAUD_RATE = BAUD_RATE_VALUE;
    ENABLE = ENABLE_UART;
    INTERRUPT_SET = INTERRUPT_RECEIVED;
    TASK_START_RX = 1u;
    TASK_START_TX = 1u;
    (void)RX_DATA; /* QEMU polls for input when this is read; otherwise the first byte takes up to a second */
    core_enable_uart_interrupt();
}

/* 2^32 / 16 MHz = 268.4355 for each bit per second, of which the register takes the upper 20 bits. */
void uart_set_rate(uint32_t baud)
{
    BAUD_RATE = ((baud * 268u) + ((baud / 1000u) * 435u) + 0x800u) & ~0xFFFu;
}

void uart_write(uint8_t byte)
{
    EVENT_SENT = 0u;
    TX_DATA = byte;
    while (EVENT_SENT == 0u) {
    }
}

void uart_interrupt(void)
{
    while (EVENT_RECEIVED != 0u) {
        EVENT_RECEIVED = 0u; /* before the read, which raises it again when more bytes wait */
        serial_received((uint8_t)RX_DATA);
    }
}
