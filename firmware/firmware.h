/* The firmware as two calls, for whatever owns main: a framework calls them from its own loop. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

/* Start the engine and the port. Call it once. */
void firmware_start(void);

/* Answer all that was received so far, then wait as the port does. Call it again and again. */
void firmware_poll(void);

#endif
