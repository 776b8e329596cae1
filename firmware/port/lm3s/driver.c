/* A UART of the Stellaris LM3S, an Arm PL011. The core stays on the clock it has after reset. */
#include "port/driver.h"
#include "config.h"
#include "port/port.h"

#define RESC (*(volatile uint32_t *)0x400FE05Cu)
#define RESC_PIN (1u << 0)
#define RESC_POWER ((1u << 1) | (1u << 2))
#define RESC_WATCHDOG (1u << 3)
#define RESC_SOFTWARE (1u << 4)
#define RCGC1 (*(volatile uint32_t *)0x400FE104u)
#define UART_INDEX ((CONFIG_UART_BASE - 0x4000C000u) / 0x1000u)

#define REGISTER(offset) (*(volatile uint32_t *)(CONFIG_UART_BASE + (offset)))
#define DATA REGISTER(0x00u)
#define FLAGS REGISTER(0x18u)
#define BAUD_INTEGER REGISTER(0x24u)
#define BAUD_FRACTION REGISTER(0x28u)
#define LINE_CONTROL REGISTER(0x2Cu)
#define CONTROL REGISTER(0x30u)
#define INTERRUPT_MASK REGISTER(0x38u)
#define INTERRUPT_CLEAR REGISTER(0x44u)

#define FLAG_RX_EMPTY (1u << 4)
#define FLAG_TX_FULL (1u << 5)
#define LINE_8_BITS_FIFO 0x70u
#define CONTROL_ON 0x301u        /* UART, transmitter, receiver */
#define INTERRUPT_RECEIVED 0x50u /* the FIFO is half full, or bytes have waited in it for a while */
#define BAUD_64THS(baud) ((((CONFIG_CLOCK_HZ * 4u) + ((baud) / 2u)) / (baud)))

uint8_t clock_reset_cause(void)
{
    const uint32_t causes = RESC;
    RESC = 0u; /* they add up otherwise */
    if ((causes & RESC_POWER) != 0u) {
        return PORT_RESET_POWER;
    }
    if ((causes & RESC_WATCHDOG) != 0u) {
        return PORT_RESET_WATCHDOG;
    }
    if ((causes & RESC_SOFTWARE) != 0u) {
        return PORT_RESET_SOFTWARE;
    }
    return ((causes & RESC_PIN) != 0u) ? PORT_RESET_PIN : PORT_RESET_UNKNOWN;
}

uint32_t clock_start(void)
{
    return CONFIG_CLOCK_HZ;
}

void uart_start(void)
{
    RCGC1 |= 1u << UART_INDEX;
    (void)RCGC1; /* the clock arrives some cycles later */
    (void)RCGC1;
    CONTROL = 0u;
    BAUD_INTEGER = BAUD_64THS(CONFIG_UART_BAUD) / 64u;
    BAUD_FRACTION = BAUD_64THS(CONFIG_UART_BAUD) % 64u;
    LINE_CONTROL = LINE_8_BITS_FIFO;
    INTERRUPT_MASK = INTERRUPT_RECEIVED;
    CONTROL = CONTROL_ON;
    (void)DATA; /* QEMU polls for input when this is read; otherwise the first byte takes up to a second */
    core_enable_uart_interrupt();
}

void uart_set_rate(uint32_t baud)
{
    const uint32_t divider = BAUD_64THS(baud);
    CONTROL = 0u;
    BAUD_INTEGER = divider / 64u;
    BAUD_FRACTION = divider % 64u;
    LINE_CONTROL = LINE_8_BITS_FIFO; /* takes both over */
    CONTROL = CONTROL_ON;
}

void uart_write(uint8_t byte)
{
    while ((FLAGS & FLAG_TX_FULL) != 0u) {
    }
    DATA = byte;
}

void uart_interrupt(void)
{
    /* Before the reads, because the next byte may arrive right behind them. */
    INTERRUPT_CLEAR = INTERRUPT_RECEIVED;
    while ((FLAGS & FLAG_RX_EMPTY) == 0u) {
        serial_received((uint8_t)DATA);
    }
}
