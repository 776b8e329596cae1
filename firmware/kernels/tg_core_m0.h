/* Cortex-M0, M0+, M1 and M23 have no long products, and only eight of their registers work in every
 * instruction. What is not here comes from the portable header. */
#ifndef TG_CORE_M0_H
#define TG_CORE_M0_H

#define TG_CORE_HAS_PAIR
#define TG_CORE_HAS_QUAD
#define TG_CORE_HAS_FOUR
#define TG_CORE_HAS_SCALE

#include "tg_core_portable.h"

/* clang-format off */

/* One position of one channel at four pixels takes 12 instructions for four products. MUL overwrites what it reads, and
 * the sums are in high registers, which ADD can use.
 *
 *     r0 columns    r1 weights    r2 weight    r3 input, then product    r4-r7 places of the pixels    r8-r11 sums
 */
#define TG_M0_PRODUCTS \
    "  ldrsh  r3, [r0, r4]\n" \
    "  muls   r3, r2, r3\n" \
    "  add    r8, r3\n" \
    "  ldrsh  r3, [r0, r5]\n" \
    "  muls   r3, r2, r3\n" \
    "  add    r9, r3\n" \
    "  ldrsh  r3, [r0, r6]\n" \
    "  muls   r3, r2, r3\n" \
    "  add    r10, r3\n" \
    "  ldrsh  r3, [r0, r7]\n" \
    "  muls   r3, r2, r3\n" \
    "  add    r11, r3\n"

/* Four positions in the columns' order; `second` and `fourth` are the offsets of their weights, `first` and `third`
 * registers that hold theirs. LDRSB takes its offset only from a register; the pixels' offsets, 0 4 8 12, are also
 * those of every second weight of two groups.
 */
#define TG_M0_GROUP(first, second, third, fourth) \
    "  ldrsb  r2, [r1, " first "]\n" \
    TG_M0_PRODUCTS \
    "  adds   r0, #2\n" \
    "  ldrb   r2, [r1, #" #second "]\n" \
    "  sxtb   r2, r2\n" \
    TG_M0_PRODUCTS \
    "  adds   r0, #14\n" \
    "  ldrsb  r2, [r1, " third "]\n" \
    TG_M0_PRODUCTS \
    "  adds   r0, #2\n" \
    "  ldrb   r2, [r1, #" #fourth "]\n" \
    "  sxtb   r2, r2\n" \
    TG_M0_PRODUCTS \
    "  adds   r0, #14\n"

/* Keeps the registers that the caller needs, and r3, the place of four sums, at [sp]. */
#define TG_M0_ENTER \
    "  push   {r4-r7, lr}\n" \
    "  mov    r4, r8\n" \
    "  mov    r5, r9\n" \
    "  mov    r6, r10\n" \
    "  mov    r7, r11\n" \
    "  push   {r3-r7}\n"

/* Loads the four sums at r3 into r8-r11; uses r4-r7. */
#define TG_M0_LOAD_SUMS \
    "  ldm    r3!, {r4-r7}\n" \
    "  mov    r8, r4\n" \
    "  mov    r9, r5\n" \
    "  mov    r10, r6\n" \
    "  mov    r11, r7\n"

/* Stores r8-r11 where they came from and returns. */
#define TG_M0_LEAVE \
    "  mov    r4, r8\n" \
    "  mov    r5, r9\n" \
    "  mov    r6, r10\n" \
    "  mov    r7, r11\n" \
    "  pop    {r3}\n" \
    "  stm    r3!, {r4-r7}\n" \
    "  pop    {r4-r7}\n" \
    "  mov    r8, r4\n" \
    "  mov    r9, r5\n" \
    "  mov    r10, r6\n" \
    "  mov    r11, r7\n" \
    "  pop    {r4-r7, pc}\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
/* Compute one channel's sums at the four pixels; weights points to the channel's first byte in its pair. */
__attribute__((naked, noinline)) TG_CORE void
tg_m0_channel(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    __asm volatile(
        "  .syntax unified\n"
        TG_M0_ENTER
        "  lsls   r2, r2, #3\n" /* a group has eight bytes of weights */
        "  adds   r2, r2, r1\n"
        "  mov    r12, r2\n"
        TG_M0_LOAD_SUMS
        "  movs   r4, #0\n"
        "  movs   r5, #4\n"
        "  movs   r6, #8\n"
        "  movs   r7, #12\n"
        "  lsls   r2, r2, #28\n" /* bit 3 of the end and of the beginning tell whether the number of groups is odd */
        "  lsls   r3, r1, #28\n"
        "  eors   r2, r2, r3\n"
        "  bpl    1f\n"
        "  subs   r1, #8\n"
        "  b      2f\n"
        "1:\n"
        TG_M0_GROUP("r4", 2, "r5", 6)
        "2:\n"
        TG_M0_GROUP("r6", 10, "r7", 14)
        "  adds   r1, #16\n"
        "  cmp    r1, r12\n"
        "  bne    1b\n"
        TG_M0_LEAVE);
}
#pragma GCC diagnostic pop
/* clang-format on */

TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    tg_m0_channel(columns, weights, groups, sums);
    tg_m0_channel(columns, weights + 1, groups, sums + TG_TILE);
}

/* clang-format off */

/* One position of four channels takes 14 instructions for four products. Inputs and the weights of a pair of channels
 * both take two bytes a position, so that one offset, counted up to zero, serves all five bases, which are ends.
 *
 *     r0 inputs    r1 a    r2 b    r5 c    r6 d    r4 offset    r3 input    r7 weight, then product    r8-r11 sums
 */
#define TG_M0_QUAD_POSITION \
    "  ldrsh  r3, [r0, r4]\n" \
    "  ldrsb  r7, [r1, r4]\n" \
    "  muls   r7, r3, r7\n" \
    "  add    r8, r7\n" \
    "  ldrsb  r7, [r2, r4]\n" \
    "  muls   r7, r3, r7\n" \
    "  add    r9, r7\n" \
    "  ldrsb  r7, [r5, r4]\n" \
    "  muls   r7, r3, r7\n" \
    "  add    r10, r7\n" \
    "  ldrsb  r7, [r6, r4]\n" \
    "  muls   r7, r3, r7\n" \
    "  add    r11, r7\n" \
    "  adds   r4, #2\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end,
                                                           const int8_t *const weights[2], int32_t *sums)
{
    __asm volatile(
        "  .syntax unified\n"
        TG_M0_ENTER
        TG_M0_LOAD_SUMS
        "  subs   r4, r0, r1\n"
        "  movs   r0, r1\n"
        "  ldm    r2!, {r1, r5}\n"
        "  subs   r1, r1, r4\n"
        "  subs   r5, r5, r4\n"
        "  adds   r2, r1, #1\n"
        "  adds   r6, r5, #1\n"
        "1:\n"
        TG_M0_QUAD_POSITION
        TG_M0_QUAD_POSITION
        "  bne    1b\n"
        TG_M0_LEAVE);
}
#pragma GCC diagnostic pop
/* clang-format on */

/* clang-format off */

/* What the loops over a depthwise convolution's taps need; lengths in bytes. */
typedef struct {
    int32_t width;     /* of the kernel */
    int32_t gap;       /* from one input of a row to the next */
    int32_t next_row;  /* from one past a row's last input to the next row's first */
    const int8_t *end; /* of the weights */
} tg_m0_taps_t;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
/* Add the taps' products to the sums of four outputs whose inputs are `stride` bytes apart: 17 instructions for four
 * products.
 *
 *     r0 inputs    r1 weights    r2 weight    r3 input, then product    r4-r7 places of the outputs    r8-r11 sums
 *     r12 end of the row of weights           lr gap
 */
__attribute__((naked, noinline)) TG_CORE void
tg_m0_four(const tg_lane_t *x, const int8_t *weights, int32_t stride, int32_t *sums, const tg_m0_taps_t *taps)
{
    __asm volatile(
        "  .syntax unified\n"
        TG_M0_ENTER
        TG_M0_LOAD_SUMS
        "  movs   r4, #0\n"
        "  movs   r5, r2\n"
        "  adds   r6, r2, r2\n"
        "  adds   r7, r6, r2\n"
        "  ldr    r3, [sp, #40]\n"
        "  ldr    r2, [r3, #4]\n"
        "  mov    lr, r2\n"
        "1:\n" /* a row */
        "  ldr    r3, [sp, #40]\n"
        "  ldr    r2, [r3]\n"
        "  adds   r2, r2, r1\n"
        "  mov    r12, r2\n"
        "2:\n" /* a tap */
        "  ldrsb  r2, [r1, r4]\n"
        TG_M0_PRODUCTS
        "  adds   r1, #1\n"
        "  add    r0, lr\n"
        "  cmp    r1, r12\n"
        "  bne    2b\n"
        "  ldr    r3, [sp, #40]\n"
        "  ldr    r2, [r3, #8]\n"
        "  adds   r0, r0, r2\n"
        "  ldr    r2, [r3, #12]\n"
        "  cmp    r1, r2\n"
        "  bne    1b\n"
        TG_M0_LEAVE);
}
#pragma GCC diagnostic pop
/* clang-format on */

TG_CORE void tg_core_four(const tg_plane_t *plane, const tg_lane_t *x, int32_t bias, int32_t *sums)
{
    const int32_t lane = (int32_t)sizeof(tg_lane_t);
    const tg_m0_taps_t taps = {
        .width = plane->width,
        .gap = plane->gap * lane,
        .next_row = ((plane->pitch * plane->dilation) - (plane->width * plane->gap)) * lane,
        .end = plane->weights + (plane->height * plane->width),
    };
    for (int32_t i = 0; i < TG_FOUR; i++) {
        sums[i] = bias;
    }
    tg_m0_four(x, plane->weights, plane->stride * lane, sums, &taps);
}

/* Compute the high word of a * multiplier, rounded half up, from products of halves:
 *
 *     a = ah 2^16 + al, m = mh 2^16 + ml (al, ml unsigned):  a m = ah mh 2^32 + (ah ml + al mh) 2^16 + al ml
 *
 * Since |ah| <= 2^15 and mh < 2^15, every product and both sums in the middle fit 32 bits.
 */
TG_CORE int32_t tg_core_scale_twice(int32_t a, int32_t multiplier, int32_t right, int32_t offset)
{
    const uint32_t al = (uint32_t)a & 0xFFFFu;
    const uint32_t ml = (uint32_t)multiplier & 0xFFFFu;
    const int32_t ah = a >> 16;
    const int32_t mh = multiplier >> 16;
    const int32_t first = (ah * (int32_t)ml) + (int32_t)((al * ml) >> 16);
    const uint32_t second = (al * (uint32_t)mh) + ((uint32_t)first & 0xFFFFu) + 0x8000u;
    const int32_t start = offset + (a >> 31);
    return (start + (ah * mh) + (first >> 16) + (int32_t)(second >> 16)) >> right;
}

TG_CORE int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    return tg_core_scale_twice(tg_shift_left(acc, 1), multiplier, right, offset);
}

#endif
