/* Sparse lists with instructions that every Cortex-M has. */
#ifndef TG_LISTS_THUMB_H
#define TG_LISTS_THUMB_H

/* Two steps over eight positions take 21 instructions, 35 cycles on a Cortex-M0+. The sums are in high
 * registers, which can be added to but not subtracted from, so the subtrahends are added up first and
 * negated.
 *
 *     r0 words     r2-r5 four words    r7 unit      lr  end of the list
 *     r1 steps     r6    a step        r8-r11 sums  r12 words at the start
 */
/* clang-format off */
#define TG_LISTS_STEP                             \
    "ldrb  r6, [r1]\n"                            \
    "adds  r1, #1\n"                              \
    "muls  r6, r7\n"                              \
    "adds  r0, r0, r6\n"                          \
    "mov   r6, r0\n"                              \
    "ldm   r6!, {r2-r5}\n"                        \
    "add   r8, r2\n"                              \
    "add   r9, r3\n"                              \
    "add   r10, r4\n"                             \
    "add   r11, r5\n"
/* r2 is the number of steps. An odd one is taken first, then two at a time. */
#define TG_LISTS_LOOP                             \
    "adds  r3, r1, r2\n"                          \
    "mov   lr, r3\n"                              \
    "lsrs  r2, r2, #1\n"                          \
    "bcc   1f\n"                                  \
    TG_LISTS_STEP                                 \
    "1:\n"                                        \
    "cmp   r1, lr\n"                              \
    "beq   3f\n"                                  \
    "2:\n"                                        \
    TG_LISTS_STEP                                 \
    TG_LISTS_STEP                                 \
    "cmp   r1, lr\n"                              \
    "bne   2b\n"                                  \
    "3:\n"
#define TG_LISTS_NEGATE(sum)                      \
    "mov   r2, " sum "\n"                         \
    "negs  r2, r2\n"                              \
    "mov   " sum ", r2\n"
/* clang-format on */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void tg_lists_run(const uint32_t *words,
                                                                  const tg_lists_run_t *run, uint32_t *sums)
{
    __asm volatile(".syntax unified\n"
                   "push  {r4-r7, lr}\n"
                   "mov   r4, r8\n"
                   "mov   r5, r9\n"
                   "mov   r6, r10\n"
                   "mov   r7, r11\n"
                   "push  {r2, r4-r7}\n"
                   "mov   r12, r0\n"
                   "ldr   r3, [r1, #12]\n" /* unit */
                   "mov   r7, r3\n"
                   "ldr   r2, [r1, #8]\n" /* plus */
                   "push  {r2}\n"
                   "ldr   r2, [r1, #4]\n" /* minus */
                   "ldr   r1, [r1]\n"
                   "movs  r3, #0\n"
                   "mov   r8, r3\n"
                   "mov   r9, r3\n"
                   "mov   r10, r3\n"
                   "mov   r11, r3\n" TG_LISTS_LOOP TG_LISTS_NEGATE("r8") TG_LISTS_NEGATE("r9")
                       TG_LISTS_NEGATE("r10") TG_LISTS_NEGATE("r11") "mov   r0, r12\n"
                                                                     "pop   {r2}\n" TG_LISTS_LOOP
                                                                     "pop   {r0}\n"
                                                                     "mov   r2, r8\n"
                                                                     "mov   r3, r9\n"
                                                                     "mov   r4, r10\n"
                                                                     "mov   r5, r11\n"
                                                                     "stm   r0!, {r2-r5}\n"
                                                                     "pop   {r4-r7}\n"
                                                                     "mov   r8, r4\n"
                                                                     "mov   r9, r5\n"
                                                                     "mov   r10, r6\n"
                                                                     "mov   r11, r7\n"
                                                                     "pop   {r4-r7, pc}\n");
}
#pragma GCC diagnostic pop

#endif
