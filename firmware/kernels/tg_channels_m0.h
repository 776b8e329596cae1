/* tg_channels.h on Cortex-M0, M0+ and M23, from bias to int8. */
#ifndef TG_CHANNELS_M0_H
#define TG_CHANNELS_M0_H

/* clang-format off */

/* Where the next tap reads: places and weights advance together, so that r12 leads from one to the other. */
#define TG_M0_PLACE \
    "  mov    r2, r12\n" \
    "  ldr    r0, [r1, r2]\n" \
    "  add    r0, lr\n"

/* One product; `x` and `weight` are registers with the offsets. */
#define TG_M0_CHANNEL(x, weight, sum) \
    "  ldrsb  r2, [r0, " x "]\n" \
    "  ldrsb  r3, [r1, " weight "]\n" \
    "  muls   r3, r2, r3\n" \
    "  add    " sum ", r3\n"

/* Two taps of four channels take 45 instructions:
 *
 *     r0 where a tap reads    r1 weights       r2, r3 input, weight    r4-r7 0 1 2 3    r8-r11 sums
 *     r12 places minus weights                 lr channel
 *
 * and an output 51; a product's high word comes from those of halves, as in tg_core_scale_twice:
 *
 *     r0 where sums lie       r2 sum, then output    r5 low half of the multiplier    r8 right shift    r10 low     r12 out
 *     r1, r3, r4, r7 free     r6 its high half       r9 offset                        r11 high          lr 2^15
 *
 * The stack holds the sums and, from 52 on, the arguments, some of which advance:
 *
 *     52 places    56 bytes of four channels' weights    60 weights    64 bias    68 multiplier    72 shift
 *     76 2 * zero point + 1    80 low    84 high         88 out        92 channel 96 channels
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void
tg_channels_fours(const int8_t *const *places, int32_t bytes, const int8_t *weights, const int32_t *bias,
                  const int32_t *multiplier, const int8_t *shift, int32_t rounding, int32_t low, int32_t high,
                  int8_t *out, int32_t channel, int32_t channels)
{
    __asm volatile(
        "  .syntax unified\n"
        "  push   {r0-r3}\n"
        "  push   {r4-r7, lr}\n"
        "  mov    r4, r8\n"
        "  mov    r5, r9\n"
        "  mov    r6, r10\n"
        "  mov    r7, r11\n"
        "  push   {r4-r7}\n"
        "  sub    sp, #16\n"
        "1:\n" /* four channels */
        "  ldr    r1, [sp, #64]\n"
        "  ldm    r1!, {r4-r7}\n"
        "  str    r1, [sp, #64]\n"
        "  mov    r8, r4\n"
        "  mov    r9, r5\n"
        "  mov    r10, r6\n"
        "  mov    r11, r7\n"
        "  movs   r4, #0\n"
        "  movs   r5, #1\n"
        "  movs   r6, #2\n"
        "  movs   r7, #3\n"
        "  ldr    r2, [sp, #92]\n"
        "  mov    lr, r2\n"
        "  ldr    r1, [sp, #60]\n"
        "  ldr    r0, [sp, #52]\n"
        "  subs   r0, r0, r1\n"
        "  mov    r12, r0\n"
        "  ldr    r2, [sp, #56]\n"
        "  adds   r3, r1, r2\n"
        "  str    r3, [sp, #60]\n"
        "  lsls   r2, r2, #29\n" /* whether the number of taps is odd */
        "  bpl    2f\n"
        TG_M0_PLACE
        TG_M0_CHANNEL("r4", "r4", "r8")
        TG_M0_CHANNEL("r5", "r5", "r9")
        TG_M0_CHANNEL("r6", "r6", "r10")
        TG_M0_CHANNEL("r7", "r7", "r11")
        "  adds   r1, #4\n"
        "  b      3f\n"
        "2:\n" /* two taps */
        TG_M0_PLACE
        TG_M0_CHANNEL("r4", "r4", "r8")
        TG_M0_CHANNEL("r5", "r5", "r9")
        "  adds   r1, #4\n"
        TG_M0_CHANNEL("r6", "r4", "r10")
        TG_M0_CHANNEL("r7", "r5", "r11")
        TG_M0_PLACE
        TG_M0_CHANNEL("r6", "r6", "r10")
        TG_M0_CHANNEL("r7", "r7", "r11")
        "  subs   r1, #2\n"
        TG_M0_CHANNEL("r4", "r4", "r8")
        TG_M0_CHANNEL("r5", "r5", "r9")
        "  adds   r1, #6\n"
        "3:\n"
        "  ldr    r2, [sp, #60]\n"
        "  cmp    r1, r2\n"
        "  bne    2b\n"
        "  mov    r4, r8\n"
        "  mov    r5, r9\n"
        "  mov    r6, r10\n"
        "  mov    r7, r11\n"
        "  mov    r0, sp\n"
        "  stm    r0!, {r4-r7}\n"
        "  mov    r0, sp\n"
        "  ldr    r1, [sp, #80]\n"
        "  mov    r10, r1\n"
        "  ldr    r1, [sp, #84]\n"
        "  mov    r11, r1\n"
        "  ldr    r1, [sp, #88]\n"
        "  mov    r12, r1\n"
        "  movs   r3, #128\n"
        "  lsls   r3, r3, #8\n"
        "  mov    lr, r3\n"
        "4:\n" /* an output */
        "  ldr    r1, [sp, #68]\n"
        "  ldm    r1!, {r6}\n"
        "  str    r1, [sp, #68]\n"
        "  uxth   r5, r6\n"
        "  asrs   r6, r6, #16\n"
        "  ldr    r1, [sp, #72]\n"
        "  movs   r3, #0\n"
        "  ldrsb  r3, [r1, r3]\n"
        "  adds   r1, #1\n"
        "  str    r1, [sp, #72]\n"
        "  negs   r3, r3\n"
        "  mov    r8, r3\n"
        "  ldr    r2, [sp, #76]\n"
        "  lsls   r2, r3\n"
        "  asrs   r2, r2, #1\n"
        "  mov    r9, r2\n"
        "  ldm    r0!, {r2}\n"
        "  lsls   r2, r2, #1\n"
        "  uxth   r3, r2\n"
        "  asrs   r4, r2, #16\n"
        "  asrs   r2, r2, #31\n"
        "  add    r2, r9\n"
        "  movs   r7, r3\n"
        "  muls   r7, r5, r7\n"
        "  lsrs   r7, r7, #16\n"
        "  movs   r1, r4\n"
        "  muls   r1, r5, r1\n"
        "  adds   r7, r7, r1\n"
        "  muls   r4, r6, r4\n"
        "  adds   r2, r2, r4\n"
        "  asrs   r4, r7, #16\n"
        "  adds   r2, r2, r4\n"
        "  muls   r3, r6, r3\n"
        "  uxth   r7, r7\n"
        "  adds   r3, r3, r7\n"
        "  add    r3, lr\n"
        "  lsrs   r3, r3, #16\n"
        "  adds   r2, r2, r3\n"
        "  mov    r1, r8\n"
        "  asrs   r2, r1\n"
        "  cmp    r2, r10\n"
        "  bge    5f\n"
        "  mov    r2, r10\n"
        "5:\n"
        "  cmp    r2, r11\n"
        "  ble    6f\n"
        "  mov    r2, r11\n"
        "6:\n"
        "  mov    r1, r12\n"
        "  strb   r2, [r1]\n"
        "  adds   r1, #1\n"
        "  mov    r12, r1\n"
        "  add    r2, sp, #16\n"
        "  cmp    r0, r2\n"
        "  bne    4b\n"
        "  str    r1, [sp, #88]\n"
        "  ldr    r1, [sp, #92]\n"
        "  adds   r1, #4\n"
        "  str    r1, [sp, #92]\n"
        "  ldr    r2, [sp, #96]\n"
        "  cmp    r1, r2\n"
        "  beq    7f\n"
        "  b      1b\n"
        "7:\n"
        "  add    sp, #16\n"
        "  pop    {r4-r7}\n"
        "  mov    r8, r4\n"
        "  mov    r9, r5\n"
        "  mov    r10, r6\n"
        "  mov    r11, r7\n"
        "  pop    {r4-r7}\n"
        "  pop    {r3}\n"
        "  add    sp, #16\n"
        "  bx     r3\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

static inline void tg_channels_whole(const tg_weighted_t *layer, int32_t whole, tg_places_t at, int8_t *out)
{
    const tg_requant_t *q = &layer->requant;
    tg_channels_fours(at.first, TG_CHANNELS * (int32_t)(at.end - at.first), layer->weights, layer->bias,
                      q->multiplier, q->shift, (2 * q->zero_point) + 1, q->act_min, q->act_max, out, 0,
                      whole);
}

#endif
