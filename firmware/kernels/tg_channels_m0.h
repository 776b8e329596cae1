/* tg_channels.h on Cortex-M0, M0+ and M23: two taps of four channels take 44 instructions. */
#ifndef TG_CHANNELS_M0_H
#define TG_CHANNELS_M0_H

#define TG_CHANNELS_HAS_SUM

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

/*     r0 where a tap reads    r1 weights    r2, r3 input, weight    r4-r7 0 1 2 3    r8-r11 sums
 *     r12 places minus weights    lr channel
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline, unused)) static void
tg_m0_channels(const int8_t *const *first, const int8_t *weights, int32_t channel, int32_t *sums,
               const int8_t *weights_end)
{
    __asm volatile(
        "  .syntax unified\n"
        TG_M0_ENTER
        TG_M0_LOAD_SUMS
        "  mov    lr, r2\n"
        "  subs   r0, r0, r1\n"
        "  mov    r12, r0\n"
        "  movs   r4, #0\n"
        "  movs   r5, #1\n"
        "  movs   r6, #2\n"
        "  movs   r7, #3\n"
        "  ldr    r2, [sp, #40]\n"
        "  subs   r2, r2, r1\n"
        "  lsls   r2, r2, #29\n" /* whether the number of taps is odd */
        "  bpl    1f\n"
        TG_M0_PLACE
        TG_M0_CHANNEL("r4", "r4", "r8")
        TG_M0_CHANNEL("r5", "r5", "r9")
        TG_M0_CHANNEL("r6", "r6", "r10")
        TG_M0_CHANNEL("r7", "r7", "r11")
        "  adds   r1, #4\n"
        "  b      2f\n"
        "1:\n"
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
        "2:\n"
        "  ldr    r2, [sp, #40]\n"
        "  cmp    r1, r2\n"
        "  bne    1b\n"
        TG_M0_LEAVE);
}
#pragma GCC diagnostic pop
/* clang-format on */

static inline void tg_channels_sum(tg_places_t at, const int8_t *weights, int32_t channel, int32_t *sums)
{
    const int32_t bytes = TG_CHANNELS * (int32_t)(at.end - at.first);
    tg_m0_channels(at.first, weights, channel, sums, weights + bytes);
}

#include "tg_channels_portable.h"

#endif
