/* Cortex-M3 has 32-bit instructions and MLA, but no arithmetic on halves of a word. What is not here comes
 * from the portable header. */
#ifndef TG_CORE_M3_H
#define TG_CORE_M3_H

#define TG_CORE_HAS_PAIR
#define TG_CORE_HAS_QUAD
#define TG_CORE_HAS_FOUR
#define TG_CORE_HAS_SCALE

#include "tg_core_four.h"
#include "tg_core_portable.h"

/* clang-format off */

/* One position of two channels at four pixels takes 14 instructions for eight products; `next` leads from the last
 * pixel to the next position.
 *
 *     r0 columns    r2 weight of channel a    r4-r7  sums of channel a, pixels 0-3    r12 input
 *     r1 weights    r3 weight of channel b    r8-r11 sums of channel b, pixels 0-3    lr  columns' end
 */
#define TG_M3_POSITION(next) \
    "  ldrsb  r2, [r1], #1\n" \
    "  ldrsb  r3, [r1], #1\n" \
    "  ldrsh  r12, [r0], #4\n" \
    "  mla    r4, r2, r12, r4\n" \
    "  mla    r8, r3, r12, r8\n" \
    "  ldrsh  r12, [r0], #4\n" \
    "  mla    r5, r2, r12, r5\n" \
    "  mla    r9, r3, r12, r9\n" \
    "  ldrsh  r12, [r0], #4\n" \
    "  mla    r6, r2, r12, r6\n" \
    "  mla    r10, r3, r12, r10\n" \
    "  ldrsh  r12, [r0], #" next "\n" \
    "  mla    r7, r2, r12, r7\n" \
    "  mla    r11, r3, r12, r11\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights,
                                                           int32_t groups, int32_t *sums)
{
    __asm volatile(
        "  push   {r3-r11, lr}\n"
        "  add    lr, r0, r2, lsl #5\n" /* four positions of four pixels are 32 bytes */
        "  ldm    r3, {r4-r11}\n"
        "1:\n"
        TG_M3_POSITION("-10")
        TG_M3_POSITION("2")
        TG_M3_POSITION("-10")
        TG_M3_POSITION("2")
        "  cmp    r0, lr\n"
        "  bne    1b\n"
        "  pop    {r3}\n"
        "  stm    r3, {r4-r11}\n"
        "  pop    {r4-r11, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

/* clang-format off */

/* One position of four channels takes 9 instructions for four products.
 *
 *     r0 vector    r2 weights of a and b    r4-r7 sums       r12 weight
 *     r1 end       r3 weights of c and d    lr    input
 */
#define TG_M3_QUAD_POSITION \
    "  ldrsh  lr, [r0], #2\n" \
    "  ldrsb  r12, [r2], #1\n" \
    "  mla    r4, r12, lr, r4\n" \
    "  ldrsb  r12, [r2], #1\n" \
    "  mla    r5, r12, lr, r5\n" \
    "  ldrsb  r12, [r3], #1\n" \
    "  mla    r6, r12, lr, r6\n" \
    "  ldrsb  r12, [r3], #1\n" \
    "  mla    r7, r12, lr, r7\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end,
                                                           const int8_t *const weights[2], int32_t *sums)
{
    __asm volatile(
        "  push   {r3-r7, lr}\n"
        "  ldm    r3, {r4-r7}\n"
        "  ldrd   r2, r3, [r2]\n"
        "1:\n"
        TG_M3_QUAD_POSITION
        TG_M3_QUAD_POSITION
        "  cmp    r0, r1\n"
        "  bne    1b\n"
        "  pop    {r3}\n"
        "  stm    r3, {r4-r7}\n"
        "  pop    {r4-r7, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

/* Uses the high word of 2 * acc * multiplier, rounded half up by the highest bit of the low word. */
TG_CORE int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    const int64_t product = (int64_t)tg_shift_left(acc, 1) * multiplier;
    const uint32_t low = (uint32_t)product;
    const int32_t high = (int32_t)(product >> 32) + (int32_t)(low >> 31);
    return (high + offset + (acc >> 31)) >> right;
}

TG_CORE int32_t tg_core_scale_twice(int32_t twice, int32_t multiplier, int32_t right, int32_t offset)
{
    const int64_t product = ((int64_t)twice * multiplier) + (INT64_C(1) << 31);
    return ((int32_t)(product >> 32) + offset + (twice >> 31)) >> right;
}

#endif
