/* Cortex-M with the DSP extension: M4, M7, M33. */
#ifndef TG_CORE_M4_H
#define TG_CORE_M4_H

#ifndef TG_CORE_HAS_BYTES
#include "tg_core_copy.h"
#endif
#include "tg_core_four.h"
#include "tg_fixed.h"

#include <stdbool.h>
#include <stddef.h>
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

/* This is one LDR, as the core reads a word at any address. */
static inline uint32_t tg_m4_load(const int8_t *from)
{
    uint32_t word;
    (void)memcpy(&word, from, sizeof word);
    return word;
}

/* Fewer than four channels are read byte by byte, because the word might extend past the tensor's end. */
static inline uint32_t tg_m4_load_channels(const int8_t *from, int32_t channels)
{
    uint32_t word = 0;
    if (channels == 4) {
        return tg_m4_load(from);
    }
    for (int32_t c = 0; c < channels; c++) {
        word |= (uint32_t)(uint8_t)from[c] << (8 * c);
    }
    return word;
}

/* clang-format off */

/* Turns four words of bytes, one per pixel, into eight words of columns, with 16 instructions for 16 bytes.
 *
 *     r0 sources, then a column    r2    columns    r7-r10      bytes
 *     r1 words left                r3-r6 sources    r11, r12, lr columns
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
#pragma GCC diagnostic ignored "-Wreturn-type"
__attribute__((naked, noinline)) TG_CORE tg_lane_t *tg_core_expand(const int8_t *const source[TG_TILE],
                                                                   int32_t words, tg_lane_t *columns)
{
    __asm volatile(
        "  push   {r4-r11, lr}\n"
        "  ldm    r0, {r3-r6}\n"
        "1:\n"
        "  ldr    r7, [r3], #4\n"
        "  ldr    r8, [r4], #4\n"
        "  ldr    r9, [r5], #4\n"
        "  ldr    r10, [r6], #4\n"
        "  sxtb16 r0, r7\n"
        "  sxtb16 r11, r8\n"
        "  sxtb16 r12, r9\n"
        "  sxtb16 lr, r10\n"
        "  stm    r2!, {r0, r11, r12, lr}\n"
        "  sxtb16 r7, r7, ror #8\n"
        "  sxtb16 r8, r8, ror #8\n"
        "  sxtb16 r9, r9, ror #8\n"
        "  sxtb16 r10, r10, ror #8\n"
        "  stm    r2!, {r7-r10}\n"
        "  subs   r1, r1, #1\n"
        "  bne    1b\n"
        "  mov    r0, r2\n"
        "  pop    {r4-r11, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

static inline void tg_m4_store(tg_lane_t *to, uint32_t lanes)
{
    (void)memcpy(to, &lanes, sizeof lanes);
}

static inline uint32_t tg_m4_lanes(const tg_lane_t *from)
{
    uint32_t lanes;
    (void)memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

static inline int32_t tg_m4_smlad(uint32_t a, uint32_t b, int32_t sum)
{
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

#ifndef TG_CORE_HAS_PAIR
/* Used where tg_m4_pairs does not fit; takes one pixel at a time. */
TG_CORE void tg_core_pair(const tg_lane_t *columns, const int8_t *weights, int32_t groups, int32_t *sums)
{
    for (int32_t pixel = 0; pixel < TG_TILE; pixel++) {
        const tg_lane_t *x = columns + (2 * pixel);
        const int8_t *w = weights;
        int32_t a = sums[pixel];
        int32_t b = sums[TG_TILE + pixel];
        for (int32_t word = 0; word < 2 * groups; word++) {
            const uint32_t bytes = tg_m4_load(w);
            const uint32_t lanes = tg_m4_lanes(x);
            a = tg_m4_smlad(tg_m4_even(bytes), lanes, a);
            b = tg_m4_smlad(tg_m4_odd(bytes), lanes, b);
            x += 2 * TG_TILE;
            w += 4;
        }
        sums[pixel] = a;
        sums[TG_TILE + pixel] = b;
    }
}
#endif

#ifndef TG_CORE_HAS_BYTES
/* SSUB8 notes for each byte whether the first operand is the greater, and SEL takes that one. */
TG_CORE void tg_core_max(int8_t *best, const int8_t *x, int32_t count)
{
    int32_t i = 0;
    for (; (i + 4) <= count; i += 4) {
        uint32_t a = tg_m4_load(best + i);
        const uint32_t b = tg_m4_load(x + i);
        uint32_t unused;
        __asm("ssub8 %1, %0, %2\n\tsel %0, %0, %2" : "+r"(a), "=&r"(unused) : "r"(b));
        (void)memcpy(best + i, &a, sizeof a);
    }
    for (; i < count; i++) {
        best[i] = (best[i] > x[i]) ? best[i] : x[i];
    }
}
#endif

TG_CORE void tg_core_vector(const int8_t *from, int32_t words, tg_lane_t *to)
{
    for (int32_t i = 0; i < words; i++) {
        const uint32_t bytes = tg_m4_load(from + (4 * i));
        tg_m4_store(to + (4 * i), tg_m4_even(bytes));
        tg_m4_store(to + (4 * i) + 2, tg_m4_odd(bytes));
    }
}

#ifndef TG_CORE_HAS_TILE
/* clang-format off */

/* Two positions (one word of columns per pixel) of two channels at four pixels: 13 instructions and 18 cycles for 16
 * products. A word of weights holds two positions of both channels; SXTB16 extracts one channel and, with ROR #8, the
 * other.
 *
 *     r0 columns    r4-r7  sums of channel a, pixels 0-3     r12 weights, then those of channel b
 *     r1 weights    r8-r11 sums of channel b, pixels 0-3     r2  weights of channel a
 *     r3, lr columns of two pixels
 */
#define TG_M4_TWO_POSITIONS \
    "  ldr    r12, [r1], #4\n" \
    "  ldrd   r3, lr, [r0], #8\n" \
    "  sxtb16 r2, r12\n" \
    "  sxtb16 r12, r12, ror #8\n" \
    "  smlad  r4, r2, r3, r4\n" \
    "  smlad  r8, r12, r3, r8\n" \
    "  smlad  r5, r2, lr, r5\n" \
    "  smlad  r9, r12, lr, r9\n" \
    "  ldrd   r3, lr, [r0], #8\n" \
    "  smlad  r6, r2, r3, r6\n" \
    "  smlad  r10, r12, r3, r10\n" \
    "  smlad  r7, r2, lr, r7\n" \
    "  smlad  r11, r12, lr, r11\n"

/* Four positions are 26 instructions of 4 bytes. */
#define TG_M4_GROUP TG_M4_TWO_POSITIONS TG_M4_TWO_POSITIONS

/* Runs four groups per round from label 1 on until the columns end at `end`. The first round is entered late enough
 * that the last one ends exactly there. */
#define TG_M4_GROUPS(end) \
    "1:\n" \
    TG_M4_GROUP TG_M4_GROUP TG_M4_GROUP TG_M4_GROUP \
    "  ldr    r2, " end "\n" \
    "  cmp    r0, r2\n" \
    "  bne    1b\n"

/* Puts the address of the code for the first of r2 groups into r12; uses r3. */
#define TG_M4_FIRST_GROUP \
    "  rsb    r3, r2, #0\n" \
    "  and    r3, r3, #3\n" \
    "  mov    r12, #26 * 4\n" \
    "  mul    r3, r3, r12\n" \
    "  adr    r12, 1f\n" \
    "  add    r12, r12, r3\n" \
    "  orr    r12, r12, #1\n"

/* Turns a channel's sum into int8: tg_scale_narrow and the clamp. r12 is the right shift, lr its offset, r2 is free. */
#define TG_M4_SCALE(sum, multiplier) \
    "  add    r2, lr, " sum ", asr #31\n" \
    "  lsl    " sum ", " sum ", #1\n" \
    "  smmlar " sum ", " sum ", " multiplier ", r2\n" \
    "  asr    " sum ", " sum ", r12\n" \
    "  ssat   " sum ", #8, " sum "\n"

/* Loads a channel's right shift into r12, by `load` from r2, and its offset into lr. */
#define TG_M4_SHIFT(load) \
    "  ldr    r2, [sp, #60]\n" \
    "  ldr    lr, [sp, #72]\n" \
    load \
    "  rsb    r12, r12, #0\n" \
    "  lsl    lr, lr, r12\n" \
    "  asr    lr, lr, #1\n"

/* Stores both channels of one pixel at out, r0, and moves it back by one step, r2; 12 bytes of code. */
#define TG_M4_STORE(a, b) \
    "  strb.w " a ", [r0]\n" \
    "  strb.w " b ", [r0, #1]\n" \
    "  sub.w  r0, r0, r2\n"

/* Computes pairs of channels of a tile's first pixels, from bias to int8. The arguments are one block on the stack:
 *
 *     36 columns   40 groups, then the columns' end   44 weights, then the first group's code   48 weights' end
 *     52 bias      56 multiplier    60 shift          64 out, of the last pixel                 68 step from pixel to pixel
 *     72 2 * zero point + 1         76 pixels, then the code that stores the last of them
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void
tg_m4_pairs(const tg_lane_t *columns, int32_t groups, const int8_t *weights, const int8_t *weights_end,
            const int32_t *bias, const int32_t *multiplier, const int8_t *shift, int8_t *out, int32_t step,
            int32_t offset, int32_t pixels)
{
    __asm volatile(
        "  push   {r0-r3}\n"
        "  push   {r4-r11, lr}\n"
        "  ldr    r5, [sp, #76]\n"
        "  adr    r6, 3f + 1\n"
        "  rsb    r5, r5, #4\n"
        "  add    r5, r5, r5, lsl #1\n"
        "  add    r5, r6, r5, lsl #2\n"
        "  str    r5, [sp, #76]\n"
        "  mov    r4, r2\n"
        "  mov    r2, r1\n"
        "  mov    r1, r4\n"
        TG_M4_FIRST_GROUP
        "  add    r2, r0, r2, lsl #5\n" /* four positions of four pixels are 32 bytes */
        "  strd   r2, r12, [sp, #40]\n"
        "2:\n"
        "  ldr    r2, [sp, #52]\n"
        "  ldr    r0, [sp, #36]\n"
        "  ldrd   r4, r8, [r2], #8\n"
        "  str    r2, [sp, #52]\n"
        "  mov    r5, r4\n"
        "  mov    r6, r4\n"
        "  mov    r7, r4\n"
        "  mov    r9, r8\n"
        "  mov    r10, r8\n"
        "  mov    r11, r8\n"
        "  ldr    pc, [sp, #44]\n"
        "  .balign 4\n"
        TG_M4_GROUPS("[sp, #40]")
        "  ldr    r2, [sp, #56]\n"
        "  ldrd   r0, r3, [r2], #8\n"
        "  str    r2, [sp, #56]\n"
        TG_M4_SHIFT("  ldrsb  r12, [r2], #2\n  str    r2, [sp, #60]\n")
        TG_M4_SCALE("r4", "r0")
        TG_M4_SCALE("r5", "r0")
        TG_M4_SCALE("r6", "r0")
        TG_M4_SCALE("r7", "r0")
        TG_M4_SHIFT("  ldrsb  r12, [r2, #-1]\n")
        TG_M4_SCALE("r8", "r3")
        TG_M4_SCALE("r9", "r3")
        TG_M4_SCALE("r10", "r3")
        TG_M4_SCALE("r11", "r3")
        "  ldrd   r0, r2, [sp, #64]\n"
        "  add    r3, r0, #2\n"
        "  str    r3, [sp, #64]\n"
        "  ldr    pc, [sp, #76]\n"
        "  .balign 4\n"
        "3:\n"
        TG_M4_STORE("r7", "r11")
        TG_M4_STORE("r6", "r10")
        TG_M4_STORE("r5", "r9")
        TG_M4_STORE("r4", "r8")
        "  ldr    r2, [sp, #48]\n"
        "  cmp    r1, r2\n"
        "  bne    2b\n"
        "  pop    {r4-r11, lr}\n"
        "  add    sp, sp, #16\n"
        "  bx     lr\n");
}
#pragma GCC diagnostic pop
/* clang-format on */
#endif

#ifndef TG_CORE_HAS_QUAD
/* clang-format off */

/* Four channels of one vector take 19 instructions and 25 cycles for 16 products.
 *
 *     r0 vector    r1, r2 weights of both pairs    r4-r7 sums    r8, r9 vector    r10, r11, r12, lr weights
 *     r3 vector's end; weights of one channel
 */
#define TG_M4_QUAD(x, ab, cd) \
    "  sxtb16 r3, " ab "\n" \
    "  smlad  r4, r3, " x ", r4\n" \
    "  sxtb16 r3, " ab ", ror #8\n" \
    "  smlad  r5, r3, " x ", r5\n" \
    "  sxtb16 r3, " cd "\n" \
    "  smlad  r6, r3, " x ", r6\n" \
    "  sxtb16 r3, " cd ", ror #8\n" \
    "  smlad  r7, r3, " x ", r7\n"

#define TG_M4_QUAD_GROUP \
    "  ldrd   r8, r9, [r0], #8\n" \
    "  ldrd   r10, r11, [r1], #8\n" \
    "  ldrd   r12, lr, [r2], #8\n" \
    TG_M4_QUAD("r8", "r10", "r12") \
    TG_M4_QUAD("r9", "r11", "lr")

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void
tg_core_quad(const tg_lane_t *vector, const tg_lane_t *end, const int8_t *const weights[2], int32_t *sums)
{
    __asm volatile(
        "  push   {r1, r3-r11, lr}\n"
        "  ldm    r3, {r4-r7}\n"
        "  ldrd   r1, r2, [r2]\n"
        "  ldr    r3, [sp]\n"
        "  sub    r3, r0, r3\n" /* minus eight bytes per group */
        "  and    r3, r3, #24\n"
        "  add    r12, r3, r3, lsl #3\n"
        "  add    r3, r12, r3, lsr #1\n" /* 9 1/2 times that, as a group has 76 bytes of code */
        "  adr    r12, 1f + 1\n"
        "  add    r12, r12, r3\n"
        "  bx     r12\n" /* the first round is entered late enough that the last one ends with the vector */
        "  .balign 4\n"
        "1:\n"
        TG_M4_QUAD_GROUP
        TG_M4_QUAD_GROUP
        TG_M4_QUAD_GROUP
        TG_M4_QUAD_GROUP
        "  ldr    r3, [sp]\n"
        "  cmp    r0, r3\n"
        "  bne    1b\n"
        "  ldr    r3, [sp, #4]\n"
        "  stm    r3, {r4-r7}\n"
        "  pop    {r1, r3-r11, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */
#endif

/* Whether the loops from bias to int8 fit: the sums are proved narrow and only int8 itself clamps. */
static inline bool tg_m4_is_plain(const tg_requant_t *q)
{
    return (q->narrow != 0) && (q->act_min == INT8_MIN) && (q->act_max == INT8_MAX);
}

#ifndef TG_CORE_HAS_TILE
TG_CORE int32_t tg_core_tile(const tg_weighted_t *layer, int32_t channels, const tg_lane_t *columns,
                             int32_t groups, int32_t pixels, int8_t *out)
{
    const tg_requant_t *q = &layer->requant;
    const int32_t paired = channels & ~1;
    if ((paired == 0) || !tg_m4_is_plain(q)) {
        return 0;
    }
    tg_m4_pairs(columns, groups, layer->weights, layer->weights + ((ptrdiff_t)paired * groups * 4),
                layer->bias, q->multiplier, q->shift, out + ((pixels - 1) * channels), channels,
                (2 * q->zero_point) + 1, pixels);
    return paired;
}
#endif

/* The low halves of two words, side by side. */
static inline uint32_t tg_m4_low_halves(uint32_t a, uint32_t b)
{
    uint32_t lanes;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(lanes) : "r"(a), "r"(b));
    return lanes;
}

/* clang-format off */

/* Four channels of `pairs` pairs of pixels, 17 instructions for eight elements; `step` and `plane` are in bytes.
 *
 *     r0 from    r1 step    r2 pairs left    r3 to    r4-r6 planes of channels 1-3    r7-r12 bytes, lanes
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void tg_m4_split(const int8_t *from, int32_t step, int32_t pairs,
                                                          tg_lane_t *to, int32_t plane)
{
    __asm volatile(
        "  push   {r4-r11, lr}\n"
        "  ldr    r4, [sp, #36]\n"
        "  lsl    r5, r4, #1\n"
        "  add    r6, r4, r5\n"
        "1:\n"
        "  ldr    r8, [r0, r1]\n"
        "  ldr    r7, [r0]\n"
        "  add    r0, r0, r1, lsl #1\n"
        "  sxtb16 r9, r7\n"
        "  sxtb16 r10, r8\n"
        "  sxtb16 r7, r7, ror #8\n"
        "  sxtb16 r8, r8, ror #8\n"
        "  pkhtb  r11, r10, r9, asr #16\n"
        "  pkhbt  r9, r9, r10, lsl #16\n"
        "  pkhtb  r12, r8, r7, asr #16\n"
        "  pkhbt  r7, r7, r8, lsl #16\n"
        "  str    r12, [r3, r6]\n"
        "  str    r11, [r3, r5]\n"
        "  str    r7, [r3, r4]\n"
        "  str    r9, [r3], #4\n"
        "  subs   r2, r2, #1\n"
        "  bne    1b\n"
        "  pop    {r4-r11, pc}\n");
}
#pragma GCC diagnostic pop
/* clang-format on */

TG_CORE void tg_core_split(const int8_t *from, int32_t step, int32_t count, int32_t channels, tg_lane_t *to,
                           int32_t plane)
{
    int32_t i = 0;
    if ((channels == 4) && (count >= 2)) {
        tg_m4_split(from, step, count / 2, to, plane * (int32_t)sizeof(tg_lane_t));
        i = count & ~1;
        from += i * step;
    }
    for (; i < count; i++) {
        for (int32_t c = 0; c < channels; c++) {
            to[(c * plane) + i] = from[c];
        }
        from += step;
    }
}

/* A register holds two lanes of 16 bits, each of which can sum 255 bytes of either sign. */
TG_CORE void tg_core_sum(const int8_t *from, int32_t step, int32_t count, int32_t channels, int32_t *sums)
{
    while (count > 0) {
        const int32_t part = tg_min(count, 255);
        uint32_t even = 0;
        uint32_t odd = 0;
        for (int32_t i = 0; i < part; i++) {
            const uint32_t bytes = tg_m4_load_channels(from, channels);
            __asm("sxtab16 %0, %0, %1" : "+r"(even) : "r"(bytes));
            __asm("sxtab16 %0, %0, %1, ror #8" : "+r"(odd) : "r"(bytes));
            from += step;
        }
        sums[0] += (int16_t)even;
        sums[1] += (int16_t)odd;
        sums[2] += (int32_t)even >> 16;
        sums[3] += (int32_t)odd >> 16;
        count -= part;
    }
}

/* SMMLAR adds the high word of a product, rounded half up, to its last operand. The high word of
 * 2 * acc * multiplier is round(acc * multiplier / 2^31); the caller guarantees that 2 * acc fits 32 bits. */
TG_CORE int32_t tg_core_scale_twice(int32_t twice, int32_t multiplier, int32_t right, int32_t offset)
{
    int32_t sum = offset + (twice >> 31);
    __asm("smmlar %0, %1, %2, %0" : "+r"(sum) : "r"(twice), "r"(multiplier));
    return sum >> right;
}

TG_CORE int32_t tg_core_scale(int32_t acc, int32_t multiplier, int32_t right, int32_t offset)
{
    return tg_core_scale_twice(tg_shift_left(acc, 1), multiplier, right, offset);
}

#include "tg_core_m4_plane.h"

#endif
