/* What the chip says its last reset came from. */
#ifndef RESET_H
#define RESET_H

#include <stdint.h>

/* A PORT_RESET of port.h. It clears what the chip keeps, so that the next reset is told apart; call it once. */
uint8_t reset_told(void);

#endif
