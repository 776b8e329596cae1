/* The second boot loader, after the RP2040's data sheet. The boot ROM copies the first 256 bytes of flash into RAM,
 * checks the CRC in their last word and runs them. They let the flash be read like memory, by the serial read
 * command that every flash chip has, and start the firmware by its vectors, which lie right behind.
 */
#include <stdint.h>

void boot_second_stage(void);

/* Registers of the SSI, at 0x18000000: CTRLR0 0x00, CTRLR1 0x04, SSIENR 0x08, BAUDR 0x14, SPI_CTRLR0 0xF4. */
/* clang-format off */
__attribute__((naked, used, section(".boot"))) void boot_second_stage(void)
{
    __asm__(".syntax unified\n"
            "ldr r0, =0x18000000\n"
            "movs r1, #0\n"
            "str r1, [r0, #0x08]\n" /* off, so that it can be set up */
            "movs r2, #4\n"
            "str r2, [r0, #0x14]\n" /* a quarter of the core clock: serial reads go up to 50 MHz */
            "ldr r2, =0x001F0300\n" /* frames of 32 bits on one wire; a command, then data */
            "str r2, [r0, #0x00]\n"
            "str r1, [r0, #0x04]\n" /* one frame at a time */
            "ldr r2, =0x03000218\n" /* command 03h of 8 bits, an address of 24, no pause */
            "ldr r3, =0x180000F4\n"
            "str r2, [r3]\n"
            "movs r2, #1\n"
            "str r2, [r0, #0x08]\n"
            "ldr r0, =0x10000100\n" /* the vectors */
            "ldr r1, =0xE000ED08\n" /* VTOR */
            "str r0, [r1]\n"
            "ldr r1, [r0]\n"
            "msr msp, r1\n"
            "ldr r1, [r0, #4]\n"
            "bx r1\n"
            ".ltorg\n"
            ".org 252\n"
            ".word 0xEF5BB530\n"); /* the CRC-32, most significant bit first, of what is in front; a test computes it */
}
/* clang-format on */
