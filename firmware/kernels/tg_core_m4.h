/* Cortex-M with the DSP extension: M4, M7, M33. */
#ifndef TG_CORE_M4_H
#define TG_CORE_M4_H

#include <string.h>

static inline uint32_t tg_m4_even(uint32_t bytes)
{
    uint32_t lanes;
    __asm("sxtb16 %0, %1" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

static inline uint32_t tg_m4_odd(uint32_t bytes)
{
    uint32_t lanes;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

/* One LDR: the core reads words at any address. */
static inline uint32_t tg_m4_load(const int8_t *from)
{
    uint32_t word;
    (void)memcpy(&word, from, sizeof word);
    return word;
}

static inline tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE], int32_t words,
                                        tg_lane_t *columns)
{
    typedef uint32_t __attribute__((may_alias)) word_t;
    const int8_t *a = source[0];
    const int8_t *b = source[1];
    const int8_t *c = source[2];
    const int8_t *d = source[3];
    word_t *to = (word_t *)(void *)columns;
    for (const int8_t *end = a + (4 * words); a != end; a += 4, b += 4, c += 4, d += 4) {
        const uint32_t xa = tg_m4_load(a);
        const uint32_t xb = tg_m4_load(b);
        const uint32_t xc = tg_m4_load(c);
        const uint32_t xd = tg_m4_load(d);
        to[0] = tg_m4_even(xa);
        to[1] = tg_m4_even(xb);
        to[2] = tg_m4_even(xc);
        to[3] = tg_m4_even(xd);
        to[4] = tg_m4_odd(xa);
        to[5] = tg_m4_odd(xb);
        to[6] = tg_m4_odd(xc);
        to[7] = tg_m4_odd(xd);
        to += 8;
    }
    return (tg_lane_t *)(void *)to;
}

/* Two channels by four pixels: eight sums, and every other register a load or a pointer. A word of weights
 * holds two positions of both channels; SXTB16 takes out one channel, with ROR #8 the other. 26 instructions
 * and 36 cycles for 32 products.
 *
 *     r0 columns    r4-r7  sums of channel a, pixels 0-3     r12 weights, then those of channel b
 *     r1 weights    r8-r11 sums of channel b, pixels 0-3     r2  weights of channel a
 *     [sp] end of weights, [sp, #4] sums                     r3, lr columns of two pixels
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void
tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    __asm volatile(".macro tg_two_positions\n"
                   "  ldr    r12, [r1], #4\n"
                   "  ldrd   r3, lr, [r0], #8\n"
                   "  sxtb16 r2, r12\n"
                   "  sxtb16 r12, r12, ror #8\n"
                   "  smlad  r4, r2, r3, r4\n"
                   "  smlad  r8, r12, r3, r8\n"
                   "  smlad  r5, r2, lr, r5\n"
                   "  smlad  r9, r12, lr, r9\n"
                   "  ldrd   r3, lr, [r0], #8\n"
                   "  smlad  r6, r2, r3, r6\n"
                   "  smlad  r10, r12, r3, r10\n"
                   "  smlad  r7, r2, lr, r7\n"
                   "  smlad  r11, r12, lr, r11\n"
                   ".endm\n"
                   "  push   {r4-r11, lr}\n"
                   "  mov    r12, r2\n"
                   "  add    r2, r1, r2, lsl #3\n" /* four positions of two channels are eight bytes */
                   "  push   {r2, r3}\n"
                   "  ldm    r3, {r4-r11}\n"
                   "  tst    r12, #1\n"
                   "  bne    2f\n" /* an odd number of groups starts in the middle */
                   "1:\n"
                   "  tg_two_positions\n"
                   "  tg_two_positions\n"
                   "2:\n"
                   "  tg_two_positions\n"
                   "  tg_two_positions\n"
                   "  ldr    r2, [sp]\n"
                   "  cmp    r1, r2\n"
                   "  bne    1b\n"
                   "  pop    {r2, r3}\n"
                   "  stm    r3, {r4-r11}\n"
                   "  pop    {r4-r11, pc}\n"
                   ".purgem tg_two_positions\n");
}
#pragma GCC diagnostic pop

/* SMMLAR adds the high word of a product, rounded half up, to its last operand. That of 2 * acc * multiplier
 * is round(acc * multiplier / 2^31); the caller guarantees that 2 * acc has 32 bits. */
static inline int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    int32_t sum = offset + (acc >> 31);
    __asm("smmlar %0, %1, %2, %0" : "+r"(sum) : "r"(acc << 1), "r"(multiplier));
    return sum >> right;
}

#endif
