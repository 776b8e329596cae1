/* The interface between what all boards share (cortexm.c, serial.c) and a driver, which starts the clock and
 * the UART of one chip family. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdint.h>

/* Set up the clocks; returns the core clock in use, in Hz. */
uint32_t clock_start(void);

/* What the chip says its last reset came from, a PORT_RESET of port.h; called once, before clock_start. A driver may go
 * without it: the cause is then not known. */
uint8_t clock_reset_cause(void);

/* Start the UART at CONFIG_UART_BAUD and have it interrupt when bytes are received. */
void uart_start(void);

/* Go to another rate, in bits per second, on a UART that has started. Linked only into boards with `uart.rates`. */
void uart_set_rate(uint32_t baud);

/* Send one byte; waits until the UART has room for it. */
void uart_write(uint8_t byte);

/* Make the pin of the board's `mark` an output, low; port_mark of port.h sets it. Linked only into boards with one. */
void mark_start(void);

/* The UART's interrupt handler: hands every received byte to serial_received. */
void uart_interrupt(void);

/* Store a received byte until port_taken frees it; called by uart_interrupt. */
void serial_received(uint8_t byte);

/* Enable interrupt CONFIG_UART_IRQ in the NVIC; called by uart_start. */
void core_enable_uart_interrupt(void);

#endif
