/* The crystal and PLL, GPIO and USART of the STM32F4 (ST's reference manual RM0090) and the STM32F2 (RM0033). */
#include "port/driver.h"
#include "config.h"
#include "port/port.h"

#include <stdbool.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC 0x40023800u
#define RCC_CR REGISTER(RCC + 0x00u)
#define RCC_PLLCFGR REGISTER(RCC + 0x04u)
#define RCC_CFGR REGISTER(RCC + 0x08u)
#define RCC_AHB1ENR REGISTER(RCC + 0x30u)
#define RCC_APB1ENR REGISTER(RCC + 0x40u)
#define RCC_APB2ENR REGISTER(RCC + 0x44u)
#define RCC_CSR REGISTER(RCC + 0x74u)
#define FLASH_ACR REGISTER(0x40023C00u)

#define CR_HSI_ON (1u << 0)
#define CR_HSI_READY (1u << 1)
#define CR_HSE_ON (1u << 16)
#define CR_HSE_READY (1u << 17)
#define CR_PLL_ON (1u << 24)
#define CR_PLL_READY (1u << 25)

#define CSR_CLEAR_CAUSES (1u << 24)
#define CSR_PIN (1u << 26) /* set by the others as well, which pull the pin low */
#define CSR_POWER ((1u << 25) | (1u << 27))
#define CSR_SOFTWARE (1u << 28)
#define CSR_WATCHDOGS ((1u << 29) | (1u << 30))

#define CFGR_SWITCH_MASK (3u << 0)
#define CFGR_SWITCH_PLL (2u << 0)
#define CFGR_STATUS_MASK (3u << 2)
#define CFGR_STATUS_HSI (0u << 2)
#define CFGR_STATUS_PLL (2u << 2)
#define CFGR_APB1_QUARTER (5u << 10) /* at most 42 MHz */
#define CFGR_APB2_HALF (4u << 13)    /* at most 84 MHz */

#define PLL_SOURCE_HSE (1u << 22)
#define PLL_M (CONFIG_CLOCK_CRYSTAL_HZ / 1000000u) /* 1 MHz into the VCO */
#define PLL_N (2u * (CONFIG_CLOCK_HZ / 1000000u))  /* the VCO at twice the core clock */
#define PLL_P_BY_2 (0u << 16)
#define PLL_Q ((PLL_N + 47u) / 48u) /* gives USB, which is not used, at most 48 MHz */

_Static_assert((CONFIG_CLOCK_CRYSTAL_HZ % 1000000u) == 0u, "the PLL divides the crystal to 1 MHz");
_Static_assert((CONFIG_CLOCK_HZ % 1000000u) == 0u, "the PLL multiplies 1 MHz");
_Static_assert((PLL_M >= 2u) && (PLL_M <= 63u), "PLL input divider");
_Static_assert((PLL_N >= 100u) && (PLL_N <= 432u), "VCO between 100 and 432 MHz");
_Static_assert(CONFIG_CLOCK_HZ <= 168000000u, "core clock");

#define FLASH_WAIT_STATES ((CONFIG_CLOCK_HZ - 1u) / 30000000u) /* one per 30 MHz, at 2.7 to 3.6 V */
#define FLASH_PREFETCH_AND_CACHES (7u << 8)

/* Some tens of milliseconds at 16 MHz; a crystal takes two. An emulator without RCC never gets ready. */
#define READY_POLLS 100000u

#define USART_SR REGISTER(CONFIG_UART_BASE + 0x00u)
#define USART_DR REGISTER(CONFIG_UART_BASE + 0x04u)
#define USART_BRR REGISTER(CONFIG_UART_BASE + 0x08u)
#define USART_CR1 REGISTER(CONFIG_UART_BASE + 0x0Cu)

#define SR_RECEIVED (1u << 5)
#define SR_TX_EMPTY (1u << 7)
#define CR1_RX_ENABLE (1u << 2)
#define CR1_TX_ENABLE (1u << 3)
#define CR1_RX_INTERRUPT (1u << 5)
#define CR1_ENABLE (1u << 13)
#define DIVIDER_MIN 16u /* it takes 16 samples a bit */

/* USART1 and USART6 are on APB2, the others on APB1. */
#if CONFIG_UART_BASE == 0x40011000
#define USART_ON_APB2 true
#define USART_CLOCK_BIT (1u << 4)
#elif CONFIG_UART_BASE == 0x40011400
#define USART_ON_APB2 true
#define USART_CLOCK_BIT (1u << 5)
#elif (CONFIG_UART_BASE == 0x40004400) || (CONFIG_UART_BASE == 0x40004800) ||                                \
    (CONFIG_UART_BASE == 0x40004C00) || (CONFIG_UART_BASE == 0x40005000)
#define USART_ON_APB2 false
#define USART_CLOCK_BIT (1u << (17u + ((CONFIG_UART_BASE - 0x40004400u) / 0x400u)))
#else
#error "no USART of this family at CONFIG_UART_BASE"
#endif

#define GPIO(port) (0x40020000u + ((port)*0x400u))
#define GPIO_MODE_OUTPUT 1u
#define GPIO_MODE_ALTERNATE 2u
#define GPIO_SPEED_FAST 2u
#define GPIO_PULL_UP 1u

static uint32_t uart_clock_hz;

static bool comes_true(volatile const uint32_t *reg, uint32_t mask, uint32_t wanted)
{
    for (uint32_t i = 0u; i < READY_POLLS; i++) {
        if ((*reg & mask) == wanted) {
            return true;
        }
    }
    return false;
}

/* A boot loader may leave the PLL running, and a running PLL cannot be configured. */
static void back_to_reset_clock(void)
{
    if ((RCC_CFGR & CFGR_STATUS_MASK) != CFGR_STATUS_HSI) {
        RCC_CR |= CR_HSI_ON;
        (void)comes_true(&RCC_CR, CR_HSI_READY, CR_HSI_READY);
    }
    RCC_CFGR = 0u;
    (void)comes_true(&RCC_CFGR, CFGR_STATUS_MASK, CFGR_STATUS_HSI);
    RCC_CR &= ~(CR_PLL_ON | CR_HSE_ON);
    (void)comes_true(&RCC_CR, CR_PLL_READY, 0u);
}

static bool start_pll(void)
{
    RCC_CR |= CR_HSE_ON;
    if (!comes_true(&RCC_CR, CR_HSE_READY, CR_HSE_READY)) {
        return false;
    }
    RCC_PLLCFGR = PLL_M | (PLL_N << 6) | PLL_P_BY_2 | PLL_SOURCE_HSE | (PLL_Q << 24);
    RCC_CR |= CR_PLL_ON;
    if (!comes_true(&RCC_CR, CR_PLL_READY, CR_PLL_READY)) {
        return false;
    }
    FLASH_ACR = FLASH_PREFETCH_AND_CACHES | FLASH_WAIT_STATES;
    if (!comes_true(&FLASH_ACR, 15u, FLASH_WAIT_STATES)) {
        return false;
    }
    RCC_CFGR = CFGR_APB1_QUARTER | CFGR_APB2_HALF;
    RCC_CFGR = CFGR_APB1_QUARTER | CFGR_APB2_HALF | CFGR_SWITCH_PLL;
    return comes_true(&RCC_CFGR, CFGR_STATUS_MASK, CFGR_STATUS_PLL);
}

uint8_t clock_reset_cause(void)
{
    const uint32_t causes = RCC_CSR;
    RCC_CSR = causes | CSR_CLEAR_CAUSES;
    if ((causes & CSR_POWER) != 0u) {
        return PORT_RESET_POWER;
    }
    if ((causes & CSR_WATCHDOGS) != 0u) {
        return PORT_RESET_WATCHDOG;
    }
    if ((causes & CSR_SOFTWARE) != 0u) {
        return PORT_RESET_SOFTWARE;
    }
    return ((causes & CSR_PIN) != 0u) ? PORT_RESET_PIN : PORT_RESET_UNKNOWN;
}

uint32_t clock_start(void)
{
    back_to_reset_clock();
    if (start_pll()) {
        uart_clock_hz = USART_ON_APB2 ? (CONFIG_CLOCK_HZ / 2u) : (CONFIG_CLOCK_HZ / 4u);
        return CONFIG_CLOCK_HZ;
    }
    back_to_reset_clock();
    uart_clock_hz = CONFIG_CLOCK_RESET_HZ;
    return CONFIG_CLOCK_RESET_HZ;
}

static void set_field(uint32_t address, uint32_t field, uint32_t width, uint32_t value)
{
    const uint32_t shift = field * width;
    const uint32_t mask = ((1u << width) - 1u) << shift;
    REGISTER(address) = (REGISTER(address) & ~mask) | (value << shift);
}

static void connect_pin(uint32_t port, uint32_t pin)
{
    RCC_AHB1ENR |= 1u << port;
    (void)RCC_AHB1ENR; /* the clock arrives two cycles later */
    set_field(GPIO(port) + 0x20u + (4u * (pin / 8u)), pin % 8u, 4u, CONFIG_UART_ALTERNATE);
    set_field(GPIO(port) + 0x08u, pin, 2u, GPIO_SPEED_FAST);
    set_field(GPIO(port) + 0x0Cu, pin, 2u, GPIO_PULL_UP);
    set_field(GPIO(port) + 0x00u, pin, 2u, GPIO_MODE_ALTERNATE);
}

#ifdef CONFIG_MARK_PIN
#define MARK_SET_AND_CLEAR REGISTER(GPIO(CONFIG_MARK_PORT) + 0x18u) /* the upper half clears */

void port_mark(bool on)
{
    MARK_SET_AND_CLEAR = 1u << (on ? CONFIG_MARK_PIN : (CONFIG_MARK_PIN + 16u));
}

void mark_start(void)
{
    RCC_AHB1ENR |= 1u << CONFIG_MARK_PORT;
    (void)RCC_AHB1ENR;
    port_mark(false);
    set_field(GPIO(CONFIG_MARK_PORT) + 0x08u, CONFIG_MARK_PIN, 2u, GPIO_SPEED_FAST);
    set_field(GPIO(CONFIG_MARK_PORT) + 0x00u, CONFIG_MARK_PIN, 2u, GPIO_MODE_OUTPUT);
}
#endif

void uart_start(void)
{
    if (USART_ON_APB2) {
        RCC_APB2ENR |= USART_CLOCK_BIT;
        (void)RCC_APB2ENR;
    } else {
        RCC_APB1ENR |= USART_CLOCK_BIT;
        (void)RCC_APB1ENR;
    }
    connect_pin(CONFIG_UART_TX_PORT, CONFIG_UART_TX_PIN);
    connect_pin(CONFIG_UART_RX_PORT, CONFIG_UART_RX_PIN);
    USART_BRR = (uart_clock_hz + (CONFIG_UART_BAUD / 2u)) / CONFIG_UART_BAUD;
    USART_CR1 = CR1_ENABLE | CR1_TX_ENABLE | CR1_RX_ENABLE | CR1_RX_INTERRUPT;
    core_enable_uart_interrupt();
}

void uart_set_rate(uint32_t baud)
{
    const uint32_t divider = (uart_clock_hz + (baud / 2u)) / baud;
    /* Otherwise the old rate stays; the host hears nothing at the one it asked for, and calls the board back. */
    if (divider >= DIVIDER_MIN) {
        USART_BRR = divider;
    }
}

void uart_write(uint8_t byte)
{
    while ((USART_SR & SR_TX_EMPTY) == 0u) {
    }
    USART_DR = byte;
}

void uart_interrupt(void)
{
    /* An overrun interrupts as well, without a byte; reading SR and then DR clears it. */
    const uint32_t state = USART_SR;
    const uint8_t byte = (uint8_t)USART_DR;
    if ((state & SR_RECEIVED) != 0u) {
        serial_received(byte);
    }
}
