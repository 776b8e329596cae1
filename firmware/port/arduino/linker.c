/* Apart from Arduino.h, because some cores declare these symbols in it, each with a type of its own. */
#include "linker.h"

#include <stddef.h>

#define WEAK __attribute__((weak))

/* The names of the STM32 and Teensy cores. */
extern char _sdata[] WEAK;
extern char _edata[] WEAK;
extern char _sbss[] WEAK;
extern char _ebss[] WEAK;
#if !defined(TEENSYDUINO)
/* Those of CMSIS' start-up files. The C library's own start-up, which the Teensy's core links and drops, wants them. */
extern char __data_start__[] WEAK;
extern char __data_end__[] WEAK;
extern char __bss_start__[] WEAK;
extern char __bss_end__[] WEAK;
#endif

static uint32_t bytes_between(const char *start, const char *end)
{
    return ((start != NULL) && (end != NULL)) ? (uint32_t)((uintptr_t)end - (uintptr_t)start) : 0u;
}

uint32_t linker_static_bytes(void)
{
    const uint32_t st = bytes_between(_sdata, _edata) + bytes_between(_sbss, _ebss);
#if defined(TEENSYDUINO)
    return st;
#else
    const uint32_t cmsis =
        bytes_between(__data_start__, __data_end__) + bytes_between(__bss_start__, __bss_end__);
    return (st != 0u) ? st : cmsis;
#endif
}
