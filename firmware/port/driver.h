/* Between the parts all boards share (cortexm.c, serial.c) and one family's clock and UART. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdint.h>

/* Set the clocks up; returns the core clock in use. */
uint32_t clock_start(void);

/* Open the UART at CONFIG_UART_BAUD and let it interrupt on received bytes. */
void uart_start(void);

/* Send one byte; waits for room. */
void uart_write(uint8_t byte);

/* The UART's interrupt: hands every byte to serial_received. */
void uart_interrupt(void);

void serial_received(uint8_t byte);

/* Let interrupt CONFIG_UART_IRQ through. */
void core_enable_uart_interrupt(void);

#endif
