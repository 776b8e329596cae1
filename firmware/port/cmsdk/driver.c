/* The UART of Arm's CMSDK, as on the MPS2 FPGA boards. The clock is fixed. */
#include "port/driver.h"
#include "config.h"

typedef struct {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t control;
    volatile uint32_t interrupt; /* read: status, write 1: clear */
    volatile uint32_t divider;
} cmsdk_uart_t;

#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define CONTROL_TX_ENABLE (1u << 0)
#define CONTROL_RX_ENABLE (1u << 1)
#define CONTROL_RX_INTERRUPT (1u << 3)
#define INTERRUPT_RX (1u << 1)

static cmsdk_uart_t *const uart = (cmsdk_uart_t *)CONFIG_UART_BASE;

uint32_t clock_start(void)
{
    return CONFIG_CLOCK_HZ;
}

void uart_start(void)
{
    uart->divider = CONFIG_CLOCK_HZ / CONFIG_UART_BAUD;
    uart->control = CONTROL_TX_ENABLE | CONTROL_RX_ENABLE | CONTROL_RX_INTERRUPT;
    /* QEMU polls for input when this is read; otherwise the first byte takes up to a second. */
    (void)uart->data;
    core_enable_uart_interrupt();
}

void uart_set_rate(uint32_t baud)
{
    uart->divider = CONFIG_CLOCK_HZ / baud;
}

void uart_write(uint8_t byte)
{
    while ((uart->state & STATE_TX_FULL) != 0u) {
    }
    uart->data = byte;
}

void uart_interrupt(void)
{
    uart->interrupt = INTERRUPT_RX; /* before the read, because the next byte may arrive right behind it */
    while ((uart->state & STATE_RX_FULL) != 0u) {
        serial_received((uint8_t)uart->data);
    }
}
