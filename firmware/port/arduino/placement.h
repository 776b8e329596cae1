/* TG_FLASH marks the constants of the model. On most cores of the Arduino framework, constants stay in flash anyway.
 * That of the Teensy 4 copies them into RAM unless they are put into a section of its own. The compiler's command
 * line includes this file before every source.
 */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#if defined(TEENSYDUINO) && defined(__IMXRT1062__)
#define TG_FLASH __attribute__((section(".progmem.tritguard")))
#endif

#endif
