/* Lists of taps for cores with the DSP extension, whose SXTAB16 adds every other byte of a word to two sums
 * of 16 bits. */
#ifndef TG_TAPS_M4_H
#define TG_TAPS_M4_H

/* One tap at sixteen positions takes 16 instructions, or 15 of a list of steps, and two cycles more if the words
 * that it loads are aligned.
 *
 *     r0 plane      r4-r11 sums of positions (0, 2) (1, 3) (4, 6) (5, 7) (8, 10) ... (13, 15)
 *     r1 offsets    r12, lr four positions each
 *     r2 taps left  r3 where the tap reads
 *
 * For lists of steps, r0 is the unit and r1 the list. Their loop takes two taps at once, of an odd number the
 * second half first, and runs twice: for the taps of -1, then for those of +1, whose number -1 takes the place of.
 */
/* clang-format off */
#define TG_TAPS_FOUR(word, even, odd)            \
    "sxtab16 " even ", " even ", " word "\n"     \
    "sxtab16 " odd ", " odd ", " word ", ror #8\n"
#define TG_TAPS_TAP(ADDRESS)                     \
    ADDRESS                                      \
    "ldr   r12, [r3]\n"                          \
    "ldr   lr, [r3, #4]\n"                       \
    TG_TAPS_FOUR("r12", "r4", "r5")              \
    TG_TAPS_FOUR("lr", "r6", "r7")               \
    "ldr   r12, [r3, #8]\n"                      \
    "ldr   lr, [r3, #12]\n"                      \
    TG_TAPS_FOUR("r12", "r8", "r9")              \
    TG_TAPS_FOUR("lr", "r10", "r11")
#define TG_TAPS_LOOP(ADDRESS)                    \
    "cbz   r2, 2f\n"                             \
    "1:\n"                                       \
    TG_TAPS_TAP(ADDRESS)                         \
    "subs  r2, #1\n"                             \
    "bne   1b\n"                                 \
    "2:\n"
#define TG_TAPS_OFFSET                           \
    "ldrh  lr, [r1], #2\n"                       \
    "add   r3, r0, lr\n"
#define TG_TAPS_STEP                             \
    "ldrb  lr, [r1], #1\n"                       \
    "mla   r3, lr, r0, r3\n"
#define TG_TAPS_ZERO                             \
    "movs  r4, #0\n"                             \
    "movs  r5, #0\n"                             \
    "movs  r6, #0\n"                             \
    "movs  r7, #0\n"                             \
    "mov   r8, r4\n"                             \
    "mov   r9, r4\n"                             \
    "mov   r10, r4\n"                            \
    "mov   r11, r4\n"
#define TG_TAPS_NEGATE                           \
    "movs  r3, #0\n"                             \
    "ssub16 r4, r3, r4\n"                        \
    "ssub16 r5, r3, r5\n"                        \
    "ssub16 r6, r3, r6\n"                        \
    "ssub16 r7, r3, r7\n"                        \
    "ssub16 r8, r3, r8\n"                        \
    "ssub16 r9, r3, r9\n"                        \
    "ssub16 r10, r3, r10\n"                      \
    "ssub16 r11, r3, r11\n"
/* The number of taps of +1 is at [sp, #44]. */
#define TG_TAPS_BOTH_SIGNS                       \
    "1:\n"                                       \
    "ldr   r3, [sp]\n"                           \
    "lsrs  r2, r2, #1\n"                         \
    "bcc   2f\n"                                 \
    "adds  r2, #1\n"                             \
    "b     4f\n"                                 \
    "2:\n"                                       \
    "beq   5f\n"                                 \
    "3:\n"                                       \
    TG_TAPS_TAP(TG_TAPS_STEP)                    \
    "4:\n"                                       \
    TG_TAPS_TAP(TG_TAPS_STEP)                    \
    "subs  r2, #1\n"                             \
    "bne   3b\n"                                 \
    "5:\n"                                       \
    "ldr   r2, [sp, #44]\n"                      \
    "cmp   r2, #0\n"                             \
    "blt   6f\n"                                 \
    TG_TAPS_NEGATE                               \
    "mvns  r3, r3\n"                             \
    "str   r3, [sp, #44]\n"                      \
    "b     1b\n"                                 \
    "6:\n"
/* Puts the sums of four positions, which are in pairs (0, 2) (1, 3), into order and stores them. */
#define TG_TAPS_STORE(even, odd)                 \
    "pkhbt r12, " even ", " odd ", lsl #16\n"    \
    "pkhtb " odd ", " odd ", " even ", asr #16\n"\
    "strd  r12, " odd ", [r3], #8\n"
#define TG_TAPS_STORES                           \
    TG_TAPS_STORE("r4", "r5")                    \
    TG_TAPS_STORE("r6", "r7")                    \
    TG_TAPS_STORE("r8", "r9")                    \
    TG_TAPS_STORE("r10", "r11")
/* clang-format on */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void tg_taps_tile(const int8_t *plane, const uint16_t *minus,
                                                                  int32_t minus_count, int16_t *sums,
                                                                  const uint16_t *plus, int32_t plus_count)
{
    __asm volatile("push  {r3-r11, lr}\n" TG_TAPS_ZERO TG_TAPS_LOOP(TG_TAPS_OFFSET) TG_TAPS_NEGATE
                   "ldrd  r1, r2, [sp, #40]\n" TG_TAPS_LOOP(TG_TAPS_OFFSET) "ldr   r3, [sp]\n" TG_TAPS_STORES
                                                                            "pop   {r3-r11, pc}\n");
}

__attribute__((naked, noinline, unused)) static void tg_steps_tile(const int8_t *plane, const uint8_t *list,
                                                                   int32_t minus, int16_t *sums, int32_t plus,
                                                                   int32_t unit)
{
    __asm volatile("push  {r3-r11, lr}\n"
                   "push  {r0}\n"
                   "ldr   r0, [sp, #48]\n" TG_TAPS_ZERO TG_TAPS_BOTH_SIGNS
                   "ldrd  r2, r3, [sp], #8\n" TG_TAPS_STORES "pop   {r4-r11, pc}\n");
}
#pragma GCC diagnostic pop

static inline void tg_taps_sum(const int8_t *plane, tg_taps_t taps, int32_t count, int16_t *sums)
{
    for (int32_t first = 0; first < count; first += TG_TAPS_TILE) {
        tg_taps_tile(plane + first, taps.minus, taps.minus_count, sums + first, taps.plus, taps.plus_count);
    }
}

static inline void tg_steps_sum(const int8_t *plane, tg_steps_t steps, int32_t count, int16_t *sums)
{
    for (int32_t first = 0; first < count; first += TG_TAPS_TILE) {
        tg_steps_tile(plane + first, steps.list, steps.minus, sums + first, steps.plus, steps.unit);
    }
}

#endif
