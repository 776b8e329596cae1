/* tg_channels.h on cores with 32-bit instructions, from bias to int8: M3, and those with the DSP extension. */
#ifndef TG_CHANNELS_THUMB_H
#define TG_CHANNELS_THUMB_H

/* clang-format off */

/* Registers in all of it:
 *
 *     r0 places     r2 channel         r4-r7 sums                  lr the places' end
 *     r1 weights    r3, r8 where two taps read, then inputs        r9-r12 inputs, weights
 *
 * Behind the loop, r0 is out, r3 2 * zero point + 1, r8-r11 multipliers, lr free and r12 shifts, of which a register's low
 * byte counts: the bits of a shift of -n, inverted, are n - 1, and SSAT shifts by the last bit. That is tg_scale_narrow, for
 * (a + b 2^(n - 1)) >> n is ((a >> (n - 1)) + b) >> 1.
 */
#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1)
/* Two taps of four channels take 20 instructions for eight products, with the loop's end. PKH puts two channels of both
 * taps side by side, and SXTB16 takes one of them, as it does of the weights. */
#define TG_CHANNELS_TAP \
    "  ldr    r8, [r0], #4\n" \
    "  ldr    r8, [r8, r2]\n" \
    "  ldr    r9, [r1], #4\n" \
    "  sxtb16 r10, r8\n" \
    "  sxtb16 r8, r8, ror #8\n" \
    "  sxtb16 r11, r9\n" \
    "  sxtb16 r9, r9, ror #8\n" \
    "  smlabb r4, r10, r11, r4\n" \
    "  smlabb r5, r8, r9, r5\n" \
    "  smlatt r6, r10, r11, r6\n" \
    "  smlatt r7, r8, r9, r7\n"
#define TG_CHANNELS_TWO_TAPS \
    "  ldrd   r3, r8, [r0], #8\n" \
    "  ldr    r9, [r3, r2]\n" \
    "  ldr    r8, [r8, r2]\n" \
    "  ldrd   r11, r12, [r1], #8\n" \
    "  pkhbt  r3, r9, r8, lsl #16\n" \
    "  pkhtb  r8, r8, r9, asr #16\n" \
    "  sxtb16 r9, r3\n" \
    "  sxtb16 r3, r3, ror #8\n" \
    "  sxtb16 r10, r11\n" \
    "  sxtb16 r11, r11, ror #8\n" \
    "  smlad  r4, r9, r10, r4\n" \
    "  smlad  r5, r3, r11, r5\n" \
    "  sxtb16 r9, r8\n" \
    "  sxtb16 r8, r8, ror #8\n" \
    "  sxtb16 r10, r12\n" \
    "  sxtb16 r12, r12, ror #8\n" \
    "  smlad  r6, r9, r10, r6\n" \
    "  smlad  r7, r8, r12, r7\n"
#define TG_CHANNELS_HIGH_WORD(sum, multiplier) \
    "  asr    lr, " sum ", #31\n" \
    "  smmlar " sum ", " sum ", " multiplier ", lr\n"
#else
/* Two taps take 29 instructions. */
#define TG_CHANNELS_PRODUCT(x, lane, sum) \
    "  ldrsb  r9, [" x ", #" lane "]\n" \
    "  ldrsb  r10, [r1], #1\n" \
    "  mla    " sum ", r9, r10, " sum "\n"
#define TG_CHANNELS_TAP \
    "  ldr    r8, [r0], #4\n" \
    "  add    r8, r8, r2\n" \
    TG_CHANNELS_PRODUCT("r8", "0", "r4") \
    TG_CHANNELS_PRODUCT("r8", "1", "r5") \
    TG_CHANNELS_PRODUCT("r8", "2", "r6") \
    TG_CHANNELS_PRODUCT("r8", "3", "r7")
#define TG_CHANNELS_TWO_TAPS \
    "  ldrd   r3, r8, [r0], #8\n" \
    "  add    r3, r3, r2\n" \
    "  add    r8, r8, r2\n" \
    TG_CHANNELS_PRODUCT("r3", "0", "r4") \
    TG_CHANNELS_PRODUCT("r3", "1", "r5") \
    TG_CHANNELS_PRODUCT("r8", "0", "r4") \
    TG_CHANNELS_PRODUCT("r8", "1", "r5") \
    TG_CHANNELS_PRODUCT("r3", "2", "r6") \
    TG_CHANNELS_PRODUCT("r3", "3", "r7") \
    TG_CHANNELS_PRODUCT("r8", "2", "r6") \
    TG_CHANNELS_PRODUCT("r8", "3", "r7")
#define TG_CHANNELS_HIGH_WORD(sum, multiplier) \
    "  smull  lr, " multiplier ", " sum ", " multiplier "\n" \
    "  add    " multiplier ", " multiplier ", lr, lsr #31\n" \
    "  add    " sum ", " multiplier ", " sum ", asr #31\n"
#endif

#define TG_CHANNELS_OUTPUT(sum, multiplier) \
    "  lsl    " sum ", " sum ", #1\n" \
    TG_CHANNELS_HIGH_WORD(sum, multiplier) \
    "  asr    " sum ", " sum ", r12\n" \
    "  add    " sum ", " sum ", r3\n" \
    "  ssat   " sum ", #8, " sum ", asr #1\n" \
    "  strb   " sum ", [r0], #1\n"

/* The arguments are one block on the stack:
 *
 *     36 places    40 their end    44 weights    48 bias    52 multiplier    56 shift    60 out    64 channels
 *     68 2 * zero point + 1
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void
tg_channels_fours(const int8_t *const *first, const int8_t *const *end, const int8_t *weights,
                  const int32_t *bias, const int32_t *multiplier, const int8_t *shift, int8_t *out,
                  int32_t channels, int32_t offset)
{
    __asm volatile(
        "  push   {r0-r3}\n"
        "  push   {r4-r11, lr}\n"
        "  mov    r1, r2\n"
        "  mov    r2, #0\n"
        "1:\n" /* four channels */
        "  ldrd   r0, lr, [sp, #36]\n"
        "  ldr    r3, [sp, #48]\n"
        "  add    r3, r3, r2, lsl #2\n"
        "  ldm    r3, {r4-r7}\n"
        "  sub    r3, lr, r0\n"
        "  lsls   r3, r3, #29\n" /* whether the number of taps is odd */
        "  bpl    2f\n"
        TG_CHANNELS_TAP
        "  b      3f\n"
        "2:\n"
        TG_CHANNELS_TWO_TAPS
        "3:\n"
        "  cmp    r0, lr\n"
        "  bne    2b\n"
        "  ldrd   r3, r12, [sp, #52]\n"
        "  add    r3, r3, r2, lsl #2\n"
        "  ldm    r3, {r8-r11}\n"
        "  ldr    r12, [r12, r2]\n"
        "  mvn    r12, r12\n"
        "  ldr    r0, [sp, #60]\n"
        "  ldr    r3, [sp, #68]\n"
        "  add    r0, r0, r2\n"
        TG_CHANNELS_OUTPUT("r4", "r8")
        "  lsr    r12, r12, #8\n"
        TG_CHANNELS_OUTPUT("r5", "r9")
        "  lsr    r12, r12, #8\n"
        TG_CHANNELS_OUTPUT("r6", "r10")
        "  lsr    r12, r12, #8\n"
        TG_CHANNELS_OUTPUT("r7", "r11")
        "  ldr    r3, [sp, #64]\n"
        "  add    r2, r2, #4\n"
        "  cmp    r2, r3\n"
        "  bne    1b\n"
        "  pop    {r4-r11, lr}\n"
        "  add    sp, sp, #16\n"
        "  bx     lr\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

static inline void tg_channels_whole(const tg_weighted_t *layer, int32_t whole, tg_places_t at, int8_t *out)
{
    const tg_requant_t *q = &layer->requant;
    tg_channels_fours(at.first, at.end, layer->weights, layer->bias, q->multiplier, q->shift, out, whole,
                      (2 * q->zero_point) + 1);
}

#endif
