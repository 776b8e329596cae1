/* tg_trit_lanes.h with the vectors of Cortex-M55 and M85. */
#ifndef TG_TRIT_LANES_M55_H
#define TG_TRIT_LANES_M55_H

#include <stddef.h>

/* clang-format off */

/* Adds sixteen positions of a channel, 64 times its trits in q1, at a tile's pixels. */
#define TG_TRIT_LANES_PRODUCTS \
    "  vldrb.8 q2, [r1], #16\n" \
    "  vmladava.s8 r0, q1, q2\n" \
    "  vldrb.8 q2, [r3], #16\n" \
    "  vmladava.s8 r2, q1, q2\n" \
    "  vldrb.8 q2, [r5], #16\n" \
    "  vmladava.s8 r4, q1, q2\n" \
    "  vldrb.8 q2, [r7], #16\n" \
    "  vmladava.s8 r6, q1, q2\n"

_Static_assert((offsetof(tg_conv2d_trits_t, window.out_c) == 4) && (offsetof(tg_conv2d_trits_t, trits) == 32) &&
                   (offsetof(tg_conv2d_trits_t, channels) == 36) &&
                   (offsetof(tg_conv2d_trits_t, scale.zero_point) == 44) &&
                   (offsetof(tg_conv2d_trits_t, scale.act_min) == 45) &&
                   (offsetof(tg_conv2d_trits_t, scale.act_max) == 46) && (sizeof(tg_trit_channel_t) == 12) &&
                   (offsetof(tg_trit_channel_t, multiplier) == 4) && (offsetof(tg_trit_channel_t, magnitude) == 10) &&
                   (offsetof(tg_trit_channel_t, shift) == 11),
               "the code below has these offsets");

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */

/* 64 positions of one channel at four pixels take 40 instructions for 256 products. Sums become int8 with the pixels as
 * lanes, as tg_scale_narrow does it: VQRDMULH is round(sum * multiplier / 2^31), VRSHL shifts right if the amount is
 * negative, and both round halves up. A last tile's missing pixels have windows too, whose sums are not stored.
 *
 *     r0, r2, r4, r6 sums    r8 trits    r10 the channel's record    q3 64 times -1     q5 places of the pixels' outputs
 *     r1, r3, r5, r7 windows r9 out      r11 channels left           q4 6, 4, 2, 0      q6, q7 least and greatest output
 *
 * On the stack: 0 windows    4 positions    8 zero point; the argument out is at 116.
 */
__attribute__((naked, noinline, unused)) static void tg_trit_lanes_tile(const tg_conv2d_trits_t *p,
                                                                        const int8_t *windows, int32_t positions,
                                                                        int32_t pixels, int8_t *out)
{
    __asm volatile(
        "  push   {r4-r11, lr}\n"
        "  vpush  {d8-d15}\n"
        "  sub    sp, sp, #16\n"
        "  ldrsb  r12, [r0, #44]\n"
        "  strd   r1, r2, [sp]\n"
        "  str    r12, [sp, #8]\n"
        "  ldr    r9, [sp, #116]\n"
        "  ldr    r11, [r0, #4]\n"
        "  ldr    r8, [r0, #32]\n"
        "  ldr    r10, [r0, #36]\n"
        "  vctp.32 r3\n"
        "  ldrsb  r12, [r0, #45]\n"
        "  vdup.32 q6, r12\n"
        "  ldrsb  r12, [r0, #46]\n"
        "  vdup.32 q7, r12\n"
        "  mov    r12, #0xC0\n"
        "  vdup.8 q3, r12\n"
        "  mov    r12, #6\n"
        "  vddup.u32 q4, r12, #2\n"
        "  mov    r12, #0\n"
        "  vidup.u32 q5, r12, #1\n"
        "  vmul.i32 q5, q5, r11\n"
        "1:\n" /* a channel */
        "  ldrd   r1, r12, [sp]\n"
        "  lsr    lr, r12, #6\n"
        "  add    r3, r1, r12\n"
        "  add    r5, r3, r12\n"
        "  add    r7, r5, r12\n"
        "  mov    r0, #0\n"
        "  mov    r2, #0\n"
        "  mov    r4, #0\n"
        "  mov    r6, #0\n"
        "  wls    lr, lr, 3f\n"
        "2:\n" /* a block */
        "  vldrb.8 q0, [r8], #16\n"
        "  vshl.i8 q1, q0, #6\n"
        TG_TRIT_LANES_PRODUCTS
        "  vshl.i8 q1, q0, #4\n"
        "  vand   q1, q1, q3\n"
        TG_TRIT_LANES_PRODUCTS
        "  vshl.i8 q1, q0, #2\n"
        "  vand   q1, q1, q3\n"
        TG_TRIT_LANES_PRODUCTS
        "  vand   q1, q0, q3\n"
        TG_TRIT_LANES_PRODUCTS
        "  le     lr, 2b\n"
        "3:\n"
        "  and    r12, r12, #63\n"
        "  wlstp.8 lr, r12, 5f\n"
        "4:\n" /* a word */
        "  ldr    r12, [r8], #4\n"
        "  vdup.32 q1, r12\n"
        "  vshl.u32 q1, q1, q4\n"
        "  vand   q1, q1, q3\n"
        TG_TRIT_LANES_PRODUCTS
        "  letp   lr, 4b\n"
        "5:\n"
        "  vmov   q0[2], q0[0], r0, r4\n"
        "  vmov   q0[3], q0[1], r2, r6\n"
        "  ldrd   r0, r1, [r10], #12\n"
        "  vshr.s32 q0, q0, #6\n"
        "  ldrb   r2, [r10, #-2]\n"
        "  vmul.i32 q0, q0, r2\n"
        "  ldrsb  r4, [r10, #-1]\n"
        "  vadd.i32 q0, q0, r0\n"
        "  ldr    r6, [sp, #8]\n"
        "  vshr.s32 q1, q0, #31\n"
        "  vqrdmulh.s32 q0, q0, r1\n"
        "  vadd.i32 q0, q0, q1\n"
        "  vrshl.s32 q0, r4\n"
        "  vadd.i32 q0, q0, r6\n"
        "  vmax.s32 q0, q0, q6\n"
        "  vmin.s32 q0, q0, q7\n"
        "  vpst\n"
        "  vstrbt.32 q0, [r9, q5]\n"
        "  add    r9, r9, #1\n"
        "  subs   r11, r11, #1\n"
        "  bne    1b\n"
        "  add    sp, sp, #16\n"
        "  vpop   {d8-d15}\n"
        "  pop    {r4-r11, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

#endif
