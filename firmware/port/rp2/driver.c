/* The RP2040's crystal, PLL, pins and PL011 UARTs, after Raspberry Pi's data sheet. */
#include "port/driver.h"
#include "config.h"
#include "port/port.h"

#include <stdbool.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
/* A write to a register's alias sets or clears the bits that are written as 1. */
#define SET(address) REGISTER((address) + 0x2000u)
#define CLEAR(address) REGISTER((address) + 0x3000u)

#define CLOCK_REF_CONTROL 0x40008030u
#define CLOCK_REF_SELECTED REGISTER(0x40008038u)
#define CLOCK_SYS_CONTROL 0x4000803Cu
#define CLOCK_SYS_SELECTED REGISTER(0x40008044u)
#define CLOCK_PERI_CONTROL REGISTER(0x40008048u)
#define REF_FROM_CRYSTAL 2u
#define SYS_FROM_REF 0u
#define SYS_FROM_PLL 1u /* the auxiliary source, which is the system PLL after reset */
#define PERI_ENABLE (1u << 11)

#define RESETS 0x4000C000u
#define RESETS_DONE REGISTER(0x4000C008u)
#define RESET_PINS ((1u << 5) | (1u << 8)) /* IO_BANK0 and PADS_BANK0 */
#define RESET_PLL_SYS (1u << 12)
#define RESET_UART (1u << ((CONFIG_UART_BASE == 0x40034000) ? 22u : 23u))

#define CHIP_RESET REGISTER(0x40064008u)
#define CHIP_RESET_POWER (1u << 8)
#define CHIP_RESET_RUN_PIN (1u << 16)
#define WATCHDOG_REASON REGISTER(0x40058008u)

#define CRYSTAL_HZ 12000000u /* the boot ROM's USB needs exactly this one */
#define CRYSTAL_CONTROL REGISTER(0x40024000u)
#define CRYSTAL_STATUS REGISTER(0x40024004u)
#define CRYSTAL_STARTUP REGISTER(0x4002400Cu)
#define CRYSTAL_ENABLE 0x00FABAA0u      /* for 1 to 15 MHz */
#define CRYSTAL_STARTUP_MILLISECOND 47u /* in units of 256 periods */
#define CRYSTAL_STABLE (1u << 31)

#define PLL_CONTROL REGISTER(0x40028000u)
#define PLL_POWER 0x40028004u
#define PLL_FEEDBACK REGISTER(0x40028008u)
#define PLL_DIVIDERS REGISTER(0x4002800Cu)
#define PLL_LOCKED (1u << 31)
#define PLL_REFERENCE_DIVIDER 1u
#define POWER_DOWN (1u << 0)
#define POWER_DIVIDERS_DOWN (1u << 3)
#define POWER_VCO_DOWN (1u << 5)
#define DIVIDER_1 6u
#define DIVIDER_2 2u
#define VCO_HZ (CONFIG_CLOCK_HZ * DIVIDER_1 * DIVIDER_2)

_Static_assert(CONFIG_CLOCK_HZ <= 133000000u, "core clock");
_Static_assert((VCO_HZ % CRYSTAL_HZ) == 0u, "the PLL multiplies 12 MHz and divides by 12");
_Static_assert((VCO_HZ >= 750000000u) && (VCO_HZ <= 1600000000u), "VCO between 750 and 1600 MHz");

#define PIN_CONTROL(pin) REGISTER(0x40014004u + (8u * (pin)))
#define PIN_TO_UART 2u
#define PIN_TO_SIO 5u
#define SIO_SET REGISTER(0xD0000014u)
#define SIO_CLEAR REGISTER(0xD0000018u)
#define SIO_OUTPUT_ENABLE REGISTER(0xD0000024u)

/* UART0 is on 0, 1, 12, 13, 16, 17, 28 and 29, UART1 on 4, 5, 8, 9, 20, 21, 24 and 25; the even ones send. */
#define PIN_UART(pin) ((((pin) + 4u) / 8u) % 2u)
#define IS_RIGHT_UART(pin) (PIN_UART(pin) == ((CONFIG_UART_BASE == 0x40034000) ? 0u : 1u))
_Static_assert((CONFIG_UART_TX_PIN <= 28u) && ((CONFIG_UART_TX_PIN % 4u) == 0u), "uart.tx does not send");
_Static_assert((CONFIG_UART_RX_PIN <= 29u) && ((CONFIG_UART_RX_PIN % 4u) == 1u), "uart.rx does not receive");
_Static_assert(IS_RIGHT_UART(CONFIG_UART_TX_PIN), "uart.tx belongs to the other UART");
_Static_assert(IS_RIGHT_UART(CONFIG_UART_RX_PIN), "uart.rx belongs to the other UART");
_Static_assert(CONFIG_UART_IRQ == ((CONFIG_UART_BASE == 0x40034000) ? 20u : 21u),
               "uart.irq is the other UART's");

#define UART(offset) REGISTER(CONFIG_UART_BASE + (offset))
#define UART_DATA UART(0x00u)
#define UART_FLAGS UART(0x18u)
#define UART_DIVIDER UART(0x24u)
#define UART_DIVIDER_64THS UART(0x28u)
#define UART_LINE UART(0x2Cu)
#define UART_CONTROL UART(0x30u)
#define UART_INTERRUPTS UART(0x38u)
#define FLAG_RX_EMPTY (1u << 4)
#define FLAG_TX_FULL (1u << 5)
#define LINE_8_BITS_AND_FIFOS ((3u << 5) | (1u << 4))
#define CONTROL_ENABLE ((1u << 0) | (1u << 8) | (1u << 9))
#define INTERRUPT_RECEIVED ((1u << 4) | (1u << 6)) /* half a FIFO, or fewer bytes that nothing followed */

#define DIVIDER_IN_64THS(baud) ((((8u * CONFIG_CLOCK_HZ) / (baud)) + 1u) / 2u)
#define DIVIDER_MIN_IN_64THS 64u
#define DIVIDER_AT_START DIVIDER_IN_64THS(CONFIG_UART_BAUD)
_Static_assert((DIVIDER_AT_START >= DIVIDER_MIN_IN_64THS) && (DIVIDER_AT_START < (64u << 16)),
               "no divider gives uart.baud");

static void end_reset(uint32_t what)
{
    CLEAR(RESETS) = what;
    while ((RESETS_DONE & what) != what) {
    }
}

static void start_crystal(void)
{
    CRYSTAL_STARTUP = CRYSTAL_STARTUP_MILLISECOND;
    CRYSTAL_CONTROL = CRYSTAL_ENABLE;
    while ((CRYSTAL_STATUS & CRYSTAL_STABLE) == 0u) {
    }
    REGISTER(CLOCK_REF_CONTROL) = REF_FROM_CRYSTAL;
    while (CLOCK_REF_SELECTED != (1u << REF_FROM_CRYSTAL)) {
    }
}

static void start_pll(void)
{
    SET(RESETS) = RESET_PLL_SYS;
    end_reset(RESET_PLL_SYS);
    PLL_CONTROL = PLL_REFERENCE_DIVIDER;
    PLL_FEEDBACK = VCO_HZ / CRYSTAL_HZ;
    CLEAR(PLL_POWER) = POWER_DOWN | POWER_VCO_DOWN;
    while ((PLL_CONTROL & PLL_LOCKED) == 0u) {
    }
    PLL_DIVIDERS = (DIVIDER_1 << 16) | (DIVIDER_2 << 12);
    CLEAR(PLL_POWER) = POWER_DIVIDERS_DOWN;
}

/* A reset of the core alone, by a debugger or by software, leaves no trace here: then the cause before it is told. */
uint8_t clock_reset_cause(void)
{
    if (WATCHDOG_REASON != 0u) {
        return PORT_RESET_WATCHDOG;
    }
    const uint32_t causes = CHIP_RESET;
    if ((causes & CHIP_RESET_POWER) != 0u) {
        return PORT_RESET_POWER;
    }
    return ((causes & CHIP_RESET_RUN_PIN) != 0u) ? PORT_RESET_PIN : PORT_RESET_UNKNOWN;
}

uint32_t clock_start(void)
{
    /* Off the PLL, in case a debugger started this firmware while it ran. */
    CLEAR(CLOCK_SYS_CONTROL) = SYS_FROM_PLL;
    while (CLOCK_SYS_SELECTED != (1u << SYS_FROM_REF)) {
    }
    start_crystal();
    start_pll();
    REGISTER(CLOCK_SYS_CONTROL) = SYS_FROM_PLL;
    while (CLOCK_SYS_SELECTED != (1u << SYS_FROM_PLL)) {
    }
    CLOCK_PERI_CONTROL = PERI_ENABLE;
    return CONFIG_CLOCK_HZ;
}

void uart_start(void)
{
    end_reset(RESET_PINS | RESET_UART);
    PIN_CONTROL(CONFIG_UART_TX_PIN) = PIN_TO_UART;
    PIN_CONTROL(CONFIG_UART_RX_PIN) = PIN_TO_UART;
    UART_DIVIDER = DIVIDER_AT_START / 64u;
    UART_DIVIDER_64THS = DIVIDER_AT_START % 64u;
    UART_LINE = LINE_8_BITS_AND_FIFOS; /* takes both dividers over */
    UART_CONTROL = CONTROL_ENABLE;
    UART_INTERRUPTS = INTERRUPT_RECEIVED;
    core_enable_uart_interrupt();
}

#ifdef CONFIG_MARK_PIN
_Static_assert(CONFIG_MARK_PIN <= 29u, "mark is no pin of the chip");

void port_mark(bool on)
{
    if (on) {
        SIO_SET = 1u << CONFIG_MARK_PIN;
    } else {
        SIO_CLEAR = 1u << CONFIG_MARK_PIN;
    }
}

/* The pins left their reset with the UART's. */
void mark_start(void)
{
    port_mark(false);
    SIO_OUTPUT_ENABLE = 1u << CONFIG_MARK_PIN;
    PIN_CONTROL(CONFIG_MARK_PIN) = PIN_TO_SIO;
}
#endif

void uart_set_rate(uint32_t baud)
{
    const uint32_t divider = DIVIDER_IN_64THS(baud);
    /* The old rate stays; the host hears nothing at the one it asked for, and calls the board back. */
    if (divider < DIVIDER_MIN_IN_64THS) {
        return;
    }
    UART_CONTROL = 0u;
    UART_DIVIDER = divider / 64u;
    UART_DIVIDER_64THS = divider % 64u;
    UART_LINE = LINE_8_BITS_AND_FIFOS;
    UART_CONTROL = CONTROL_ENABLE;
}

void uart_write(uint8_t byte)
{
    while ((UART_FLAGS & FLAG_TX_FULL) != 0u) {
    }
    UART_DATA = byte;
}

void uart_interrupt(void)
{
    while ((UART_FLAGS & FLAG_RX_EMPTY) == 0u) {
        serial_received((uint8_t)UART_DATA);
    }
}
