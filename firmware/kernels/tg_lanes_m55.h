/* tg_lanes.h with the vectors of Cortex-M55 and M85. */
#ifndef TG_LANES_M55_H
#define TG_LANES_M55_H

#include <stddef.h>

/* clang-format off */

/* tg_scale_narrow without the zero point. VQRDMULH is round(sum * multiplier / 2^31), halves up; VRSHL shifts right if
 * the amount is negative, and rounds halves up. `free` is a vector. */
#define TG_LANES_SCALE(sum, multiplier, shift, free) \
    "  vshr.s32     " free ", " sum ", #31\n" \
    "  vqrdmulh.s32 " sum ", " sum ", " multiplier "\n" \
    "  vadd.i32     " sum ", " sum ", " free "\n" \
    "  vrshl.s32    " sum ", " sum ", " shift "\n"

/* Stores the rescaled sums q0 (even channels) and q1 (odd ones) as int8 at `out`, as many as VPR says. r9 is the zero
 * point; q6 and q7 are the least and the greatest output. */
#define TG_LANES_STORE(out) \
    "  vqmovnb.s32  q0, q0\n" \
    "  vqmovnt.s32  q0, q1\n" \
    "  vqadd.s16    q0, q0, r9\n" \
    "  vmax.s16     q0, q0, q6\n" \
    "  vmin.s16     q0, q0, q7\n" \
    "  vpst\n" \
    "  vstrbt.16    q0, [" out "]\n"

/* Loads the limits of the outputs; r0 is the tg_by_lanes_t. */
#define TG_LANES_LIMITS \
    "  ldrsb  r9, [r0, #45]\n" \
    "  vdup.16 q6, r9\n" \
    "  ldrsb  r9, [r0, #46]\n" \
    "  vdup.16 q7, r9\n"

_Static_assert((offsetof(tg_by_lanes_t, window.out_c) == 4) && (offsetof(tg_by_lanes_t, weights) == 32) &&
                   (offsetof(tg_by_lanes_t, channels) == 36) && (offsetof(tg_by_lanes_t, scale.zero_point) == 44) &&
                   (offsetof(tg_by_lanes_t, scale.act_min) == 45) && (offsetof(tg_by_lanes_t, scale.act_max) == 46),
               "the code below has these offsets");

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */

/* Two taps of eight channels take 16 instructions for 16 products.
 *
 *     r0 p, then an input    r2 places    r4 weights     r6 an input         r8 channels left    r12 places of two taps
 *     r1 x                   r3 out       r5 channels    r7 pairs of taps    r9 zero point       lr  pairs of taps left
 */
__attribute__((naked, noinline, unused)) static void tg_lanes_window(const tg_by_lanes_t *p, const int8_t *x,
                                                                     const int32_t *at, int32_t taps, int8_t *out)
{
    __asm volatile(
        "  push   {r4-r11, lr}\n"
        "  vpush  {d8-d15}\n"
        "  lsr    r7, r3, #1\n"
        "  ldr    r3, [sp, #100]\n"
        "  ldr    r4, [r0, #32]\n"
        "  ldr    r5, [r0, #36]\n"
        "  ldr    r8, [r0, #4]\n"
        TG_LANES_LIMITS
        "  ldrsb  r9, [r0, #44]\n"
        "1:\n" /* eight channels */
        "  vctp.16 r8\n"
        "  vldrw.32 q0, [r5], #16\n"
        "  vldrw.32 q1, [r5], #16\n"
        "  mov    r12, r2\n"
        "  dls    lr, r7\n"
        "2:\n" /* two taps */
        "  ldrd   r0, r6, [r12], #8\n"
        "  add    r0, r0, r1\n"
        "  add    r6, r6, r1\n"
        "  vldrb.s16 q4, [r4], #8\n"
        "  vldrb.s16 q5, [r4], #8\n"
        "  vpstt\n"
        "  vldrbt.s16 q2, [r0]\n"
        "  vldrbt.s16 q3, [r6]\n"
        "  vmul.i16 q2, q2, q4\n"
        "  vmul.i16 q3, q3, q5\n"
        "  vadd.i16 q2, q2, q3\n"
        "  vmovlb.s16 q3, q2\n"
        "  vmovlt.s16 q2, q2\n"
        "  vadd.i32 q0, q0, q3\n"
        "  vadd.i32 q1, q1, q2\n"
        "  le     lr, 2b\n"
        "  vldrw.32 q2, [r5], #16\n"
        "  vldrw.32 q3, [r5], #16\n"
        "  vldrb.s32 q4, [r5], #4\n"
        TG_LANES_SCALE("q0", "q2", "q4", "q5")
        "  vldrb.s32 q4, [r5], #4\n"
        TG_LANES_SCALE("q1", "q3", "q4", "q5")
        TG_LANES_STORE("r3")
        "  add    r3, r3, #8\n"
        "  add    r1, r1, #8\n"
        "  subs   r8, r8, #8\n"
        "  bgt    1b\n"
        "  vpop   {d8-d15}\n"
        "  pop    {r4-r11, pc}\n");
}

/* Sixteen positions of one channel at four pixels take ten instructions for 64 products. Sums of eight channels lie on
 * the stack, [pixel][8]. A last tile's missing pixels have windows too, whose sums are not used.
 *
 *     r0, r2, r4, r6 sums    r8  weights           r10 the channels' record    r12 scratch
 *     r1, r3, r5, r7 windows r9  place of the sums r11 channels left of eight  lr  positions left
 *
 * On the stack, behind the sums: 128 channels left    132 record    136 the next weights
 * and the arguments:             240 p    244 windows    248 positions    252 pixels    256 out
 */
__attribute__((naked, noinline, unused)) static void
tg_lanes_tile(const tg_by_lanes_t *p, const int8_t *windows, int32_t positions, int32_t pixels, int8_t *out)
{
    __asm volatile(
        "  push   {r0-r3}\n"
        "  push   {r4-r11, lr}\n"
        "  vpush  {d8-d15}\n"
        "  sub    sp, sp, #140\n"
        TG_LANES_LIMITS
        "  ldr    r4, [r0, #4]\n"
        "  ldr    r10, [r0, #36]\n"
        "  ldr    r8, [r0, #32]\n"
        "  str    r4, [sp, #128]\n"
        "1:\n" /* eight channels */
        "  ldr    r11, [sp, #128]\n"
        "  cmp    r11, #8\n"
        "  it     gt\n"
        "  movgt  r11, #8\n"
        "  mov    r9, sp\n"
        "  str    r10, [sp, #132]\n"
        "2:\n" /* a channel */
        "  ldr    r1, [sp, #244]\n"
        "  ldr    r12, [sp, #248]\n"
        "  ldr    r0, [r10], #16\n"
        "  add    r3, r1, r12\n"
        "  add    r5, r3, r12\n"
        "  add    r7, r5, r12\n"
        "  mov    r2, r0\n"
        "  mov    r4, r0\n"
        "  mov    r6, r0\n"
        "  dlstp.8 lr, r12\n"
        "  add    r12, r12, r8\n"
        "  str    r12, [sp, #136]\n"
        "3:\n"
        "  vldrb.8 q0, [r8], #16\n"
        "  vldrb.8 q1, [r1], #16\n"
        "  vmladava.s8 r0, q0, q1\n"
        "  vldrb.8 q2, [r3], #16\n"
        "  vmladava.s8 r2, q0, q2\n"
        "  vldrb.8 q1, [r5], #16\n"
        "  vmladava.s8 r4, q0, q1\n"
        "  vldrb.8 q2, [r7], #16\n"
        "  vmladava.s8 r6, q0, q2\n"
        "  letp   lr, 3b\n"
        "  str    r0, [r9], #16\n" /* from an even channel to the next one are 16 bytes */
        "  str    r2, [r9, #16]\n"
        "  str    r4, [r9, #48]\n"
        "  str    r6, [r9, #80]\n"
        "  ldr    r8, [sp, #136]\n"
        "  subs   r11, r11, #1\n"
        "  beq    4f\n"
        "  mov    r12, sp\n"
        "  sub    r12, r9, r12\n"
        "  cmp    r12, #32\n"
        "  blt    2b\n"
        "  sub    r9, r9, #28\n" /* and from an odd one 12 bytes back */
        "  sub    r10, r10, #28\n"
        "  b      2b\n"
        "4:\n"
        "  ldr    r0, [sp, #240]\n"
        "  ldr    r7, [sp, #132]\n"
        "  add    r7, r7, #32\n"
        "  vldrw.32 q2, [r7], #16\n"
        "  vldrw.32 q3, [r7], #16\n"
        "  ldr    r1, [sp, #128]\n"
        "  vctp.16 r1\n"
        "  ldrsb  r9, [r0, #44]\n"
        "  ldr    r2, [r0, #4]\n"
        "  ldr    r3, [sp, #256]\n"
        "  ldr    r4, [sp, #252]\n"
        "  mov    r5, sp\n"
        "  add    r6, r3, #8\n"
        "  str    r6, [sp, #256]\n"
        "5:\n" /* a pixel */
        "  vldrw.32 q0, [r5], #16\n"
        "  vldrw.32 q1, [r5], #16\n"
        "  vldrb.s32 q4, [r7]\n"
        TG_LANES_SCALE("q0", "q2", "q4", "q5")
        "  vldrb.s32 q4, [r7, #4]\n"
        TG_LANES_SCALE("q1", "q3", "q4", "q5")
        TG_LANES_STORE("r3")
        "  add    r3, r3, r2\n"
        "  subs   r4, r4, #1\n"
        "  bne    5b\n"
        "  add    r10, r7, #8\n"
        "  subs   r1, r1, #8\n"
        "  str    r1, [sp, #128]\n"
        "  bgt    1b\n"
        "  add    sp, sp, #140\n"
        "  vpop   {d8-d15}\n"
        "  pop    {r4-r11, lr}\n"
        "  add    sp, sp, #16\n"
        "  bx     lr\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

#endif
