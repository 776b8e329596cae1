/* Dual-channel words for cores with the DSP extension. */
#ifndef TG_DUAL_M4_H
#define TG_DUAL_M4_H

#ifndef TG_DUAL_HAS_LOOPS

/* Both kernels are a loop over words inside a loop over blocks.
 *
 *     r0 activations   r4-r7  accumulators           r12 mask       [sp]      sums
 *     r1 trits         r8-r11 activations of four    lr  two lanes  [sp, #4]  words left
 *     r2 trits or             pixels, or words of    r3  words left [sp, #8]  words of a block
 *        activations          four pairs                 of a block [sp, #12] corrections of the next
 *
 * The 64 products of a word at four pixels take 25 instructions (41 cycles), those at one pixel 37 (54).
 */
/* clang-format off */
#define TG_DUAL_KERNEL(WORD)                      \
    "push  {r4-r11, lr}\n"                        \
    "ldm   r2, {r8-r10}\n"                        \
    "movs  r4, #0\n"                              \
    "movs  r5, #0\n"                              \
    "movs  r6, #0\n"                              \
    "movs  r7, #0\n"                              \
    "stm   r3, {r4-r7}\n"                         \
    "ldm   r10!, {r4-r7}\n"                       \
    "push  {r3, r8-r10}\n"                        \
    "movw  r12, #0xC003\n"                        \
    "movt  r12, #0xC003\n"                        \
    "1:\n"                                        \
    "ldrd  r2, r3, [sp, #4]\n"                    \
    "cmp   r2, r3\n"                              \
    "it    lt\n"                                  \
    "movlt r3, r2\n"                              \
    "subs  r2, r3\n"                              \
    "str   r2, [sp, #4]\n"                        \
    "lsrs  r3, r3, #1\n" /* an odd word first, then two at a time */ \
    "bcc   2f\n"                                  \
    WORD                                          \
    "2:\n"                                        \
    "beq   4f\n"                                  \
    "3:\n"                                        \
    WORD                                          \
    WORD                                          \
    "subs  r3, #1\n"                              \
    "bne   3b\n"                                  \
    "4:\n"                                        \
    "ldr   r2, [sp]\n"                            \
    "ldm   r2, {r8-r11}\n"                        \
    TG_DUAL_SPLIT("r4", "r8")                     \
    TG_DUAL_SPLIT("r5", "r9")                     \
    TG_DUAL_SPLIT("r6", "r10")                    \
    TG_DUAL_SPLIT("r7", "r11")                    \
    "stm   r2!, {r8-r11}\n"                       \
    "ldr   r3, [sp, #4]\n"                        \
    "cmp   r3, #0\n"                              \
    "beq   5f\n"                                  \
    "ldr   r2, [sp, #12]\n"                       \
    "ldm   r2!, {r8-r11}\n"                       \
    "str   r2, [sp, #12]\n"                       \
    "add   r4, r8\n"                              \
    "add   r5, r9\n"                              \
    "add   r6, r10\n"                             \
    "add   r7, r11\n"                             \
    "b     1b\n"                                  \
    "5:\n"                                        \
    "asrs  r4, r4, #14\n"                         \
    "asrs  r5, r5, #14\n"                         \
    "asrs  r6, r6, #14\n"                         \
    "asrs  r7, r7, #14\n"                         \
    "stm   r2, {r4-r7}\n"                         \
    "add   sp, #16\n"                             \
    "pop   {r4-r11, pc}\n"

/* Moves S0 from an accumulator to the sum of the low channel. */
#define TG_DUAL_SPLIT(acc, low)                   \
    "sbfx  lr, " acc ", #0, #14\n"                \
    "sub   " acc ", lr\n"                         \
    "add   " low ", lr\n"

#define TG_DUAL_TWO_POSITIONS(turn)               \
    "ldm   r0!, {r8-r11}\n"                       \
    "and   lr, r12, r2" turn "\n"                 \
    "smlad r4, lr, r8, r4\n"                      \
    "smlad r5, lr, r9, r5\n"                      \
    "smlad r6, lr, r10, r6\n"                     \
    "smlad r7, lr, r11, r7\n"
#define TG_DUAL_WORD                              \
    "ldr   r2, [r1], #4\n"                        \
    TG_DUAL_TWO_POSITIONS("")                     \
    TG_DUAL_TWO_POSITIONS(", ror #4")             \
    TG_DUAL_TWO_POSITIONS(", ror #8")             \
    TG_DUAL_TWO_POSITIONS(", ror #12")

#define TG_DUAL_FOUR_PAIRS(turn)                  \
    "ldr   r2, [r0], #4\n"                        \
    "and   lr, r12, r8" turn "\n"                 \
    "smlad r4, lr, r2, r4\n"                      \
    "and   lr, r12, r9" turn "\n"                 \
    "smlad r5, lr, r2, r5\n"                      \
    "and   lr, r12, r10" turn "\n"                \
    "smlad r6, lr, r2, r6\n"                      \
    "and   lr, r12, r11" turn "\n"                \
    "smlad r7, lr, r2, r7\n"
#define TG_DUAL_FOUR_WORDS                        \
    "ldm   r1!, {r8-r11}\n"                       \
    TG_DUAL_FOUR_PAIRS("")                        \
    TG_DUAL_FOUR_PAIRS(", ror #4")                \
    TG_DUAL_FOUR_PAIRS(", ror #8")                \
    TG_DUAL_FOUR_PAIRS(", ror #12")
/* clang-format on */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void
tg_dual_pair(const tg_lane_t *columns, const uint32_t *trits, const tg_dual_run_t *run, tg_dual_sums_t *sums)
{
    __asm volatile(TG_DUAL_KERNEL(TG_DUAL_WORD));
}

__attribute__((naked, noinline, unused)) static void
tg_dual_pairs(const tg_lane_t *x, const uint32_t *trits, const tg_dual_run_t *run, tg_dual_sums_t *sums)
{
    __asm volatile(TG_DUAL_KERNEL(TG_DUAL_FOUR_WORDS));
}

/* This takes 22 instructions per word. Both lanes of the multiplier are -1. */
__attribute__((naked, noinline, unused)) static const tg_lane_t *tg_dual_minus(const tg_lane_t *columns,
                                                                               int32_t words, int32_t *sums)
{
    __asm volatile("push  {r4-r9}\n"
                   "mov   r12, #-1\n"
                   "movs  r3, #0\n"
                   "movs  r4, #0\n"
                   "movs  r5, #0\n"
                   "movs  r6, #0\n"
                   "push  {r2}\n"
                   "1:\n"
                   ".rept 4\n"
                   "ldm   r0!, {r2, r7-r9}\n"
                   "smlad r3, r2, r12, r3\n"
                   "smlad r4, r7, r12, r4\n"
                   "smlad r5, r8, r12, r5\n"
                   "smlad r6, r9, r12, r6\n"
                   ".endr\n"
                   "subs  r1, #1\n"
                   "bne   1b\n"
                   "pop   {r2}\n"
                   "stm   r2, {r3-r6}\n"
                   "pop   {r4-r9}\n"
                   "bx    lr\n");
}

#pragma GCC diagnostic pop

#endif

static inline int32_t tg_dual_minus_row(const tg_lane_t *x, int32_t words)
{
    typedef uint32_t __attribute__((may_alias)) word_t;
    const word_t *pair = (const word_t *)(const void *)x;
    int32_t sum = 0;
    for (int32_t n = 4 * words; n > 0; n--) {
        __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(*pair++), "r"(-1));
    }
    return sum;
}

static inline void tg_dual_expand(const int8_t *bytes, tg_lane_t *x)
{
    typedef uint32_t __attribute__((may_alias)) word_t;
    const uint32_t word = tg_m4_load(bytes);
    word_t *to = (word_t *)(void *)x;
    to[0] = tg_m4_even(word);
    to[1] = tg_m4_odd(word);
}

#endif
