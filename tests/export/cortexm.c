/* A whole Cortex-M program for the emulator: runs the model on every input of samples.h, writes what comes
 * out to the host by semihosting, and ends. */
#include PROGRAM_HEADER
#include "samples.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT = 0x18, STDOUT_MODE = 4, EXIT_NORMAL = 0x20026 };

extern uint32_t ld_data_load[], ld_data_start[], ld_data_end[], ld_bss_start[], ld_bss_end[], ld_stack_end[];

void reset_entry(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {ld_stack_end, reset_entry};

static uintptr_t semihosting(uintptr_t operation, const void *argument)
{
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void reset_entry(void)
{
    static int8_t output[OUTPUT_BYTES];
    (void)memcpy(ld_data_start, ld_data_load, (size_t)((uintptr_t)ld_data_end - (uintptr_t)ld_data_start));
    (void)memset(ld_bss_start, 0, (size_t)((uintptr_t)ld_bss_end - (uintptr_t)ld_bss_start));
    const uintptr_t terminal[] = {(uintptr_t) ":tt", STDOUT_MODE, 3u};
    const uintptr_t out = semihosting(SYS_OPEN, terminal);
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        RUN(samples[i], output, NULL);
        const uintptr_t block[] = {out, (uintptr_t)output, sizeof output};
        (void)semihosting(SYS_WRITE, block);
    }
    (void)semihosting(SYS_EXIT, (const void *)EXIT_NORMAL);
    for (;;) {
    }
}
