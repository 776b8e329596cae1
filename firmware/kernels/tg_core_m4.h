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

/* Loads the next channel's right shift into r12 and its offset into lr. */
#define TG_M4_NEXT_SHIFT \
    "  ldr    r2, [sp, #60]\n" \
    "  ldr    lr, [sp, #72]\n" \
    "  ldrsb  r12, [r2], #1\n" \
    "  str    r2, [sp, #60]\n" \
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
        TG_M4_NEXT_SHIFT
        TG_M4_SCALE("r4", "r0")
        TG_M4_SCALE("r5", "r0")
        TG_M4_SCALE("r6", "r0")
        TG_M4_SCALE("r7", "r0")
        TG_M4_NEXT_SHIFT
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

/* Taps of a depthwise convolution as records, one for four neighbouring lanes of a row of the kernel. A record
 * begins with the bytes from the inputs of the one before to its own; the records end with those that lead to
 * the next outputs.
 *
 *     kernel width 3    | 0 | w0 w1 | w2 0 |                    as they are
 *                       | 0 | w0 w1 | w2 0 | 0 w0 | w1 w2 |     also one lane later, for the outputs in between
 */

/* The lanes that a row of the kernel takes. */
static inline int32_t tg_m4_reach(const tg_plane_t *plane, bool later)
{
    return plane->width + (later ? 1 : 0);
}

/* Weight k of a record, of which the row still has `left`. */
static inline uint32_t tg_m4_tap(const int8_t *weights, int32_t k, int32_t left)
{
    return (k < left) ? (uint32_t)(int32_t)weights[k] : 0u;
}

/* Returns the records' end. `advance` are the bytes from the inputs of four outputs to those of the next four. */
__attribute__((always_inline)) static inline uint32_t *tg_m4_taps(const tg_plane_t *plane, bool later,
                                                                  int32_t advance)
{
    const int32_t reach = (tg_m4_reach(plane, later) + 3) & ~3;
    const int32_t pitch = plane->pitch * plane->dilation * (int32_t)sizeof(tg_lane_t);
    const int8_t *weights = plane->weights;
    uint32_t *to = (uint32_t *)(void *)plane->taps;
    int32_t delta = 0;
    for (int32_t ky = 0; ky < plane->height; ky++) {
        uint32_t before = 0;
        for (int32_t k = 0; k < reach; k += 4) {
            const uint32_t w0 = tg_m4_tap(weights + k, 0, plane->width - k);
            const uint32_t w1 = tg_m4_tap(weights + k, 1, plane->width - k);
            const uint32_t w2 = tg_m4_tap(weights + k, 2, plane->width - k);
            const uint32_t w3 = tg_m4_tap(weights + k, 3, plane->width - k);
            *to++ = (uint32_t)delta;
            *to++ = tg_m4_low_halves(w0, w1);
            *to++ = tg_m4_low_halves(w2, w3);
            if (later) {
                *to++ = tg_m4_low_halves(before, w0);
                *to++ = tg_m4_low_halves(w1, w2);
            }
            before = w3;
            delta = 8;
        }
        weights += plane->width;
        delta = pitch - (2 * (reach - 4));
    }
    *to = (uint32_t)(advance - ((plane->height - 1) * pitch) - (2 * (reach - 4)));
    return to;
}

#define TG_CORE_HAS_PLANE

/* clang-format off */

/* One record for four neighbouring outputs, with up to 16 products. Stride 1:
 *
 *     r4, r6 += (x0 x1)(w0 w1) + (x2 x3)(w2 w3)    r8, r9   taps as they are    r3, r12, lr six inputs
 *     r5, r7 += (x0 x1)(0 w0) + (x2 x3)(w1 w2)     r10, r11 taps one later      r0, r1 inputs, records
 */
#define TG_M4_TAPS_BY_1 \
    "  ldm.w  r1!, {r3, r8-r11}\n" \
    "  add.w  r0, r0, r3\n" \
    "  ldm.w  r0, {r3, r12, lr}\n" \
    "  smlad  r4, r8, r3, r4\n" \
    "  smlad  r5, r10, r3, r5\n" \
    "  smlad  r6, r8, r12, r6\n" \
    "  smlad  r7, r10, r12, r7\n" \
    "  smlad  r4, r9, r12, r4\n" \
    "  smlad  r5, r11, r12, r5\n" \
    "  smlad  r6, r9, lr, r6\n" \
    "  smlad  r7, r11, lr, r7\n"

/* Stride 2: r8, r9 taps    r3, r10-r12, lr ten inputs */
#define TG_M4_TAPS_BY_2 \
    "  ldm.w  r1!, {r3, r8, r9}\n" \
    "  add.w  r0, r0, r3\n" \
    "  ldm.w  r0, {r3, r10-r12, lr}\n" \
    "  smlad  r4, r8, r3, r4\n" \
    "  smlad  r5, r8, r10, r5\n" \
    "  smlad  r6, r8, r11, r6\n" \
    "  smlad  r7, r8, r12, r7\n" \
    "  smlad  r4, r9, r10, r4\n" \
    "  smlad  r5, r9, r11, r5\n" \
    "  smlad  r6, r9, r12, r6\n" \
    "  smlad  r7, r9, lr, r7\n"

/* Records that the loops compute in a round, which may be entered late, and the bytes of each one's code. */
#define TG_M4_RECORDS 3
#define TG_M4_RECORD_BYTES 44

#define TG_M4_SCALE_ONE(sum) \
    "  add    r3, lr, " sum ", asr #31\n" \
    "  lsl    " sum ", " sum ", #1\n" \
    "  smmlar " sum ", " sum ", r11, r3\n" \
    "  asr    " sum ", " sum ", r12\n" \
    "  ssat   " sum ", #8, " sum "\n"

/* Computes all outputs of a plane in blocks of four, from bias to int8. The arguments are one block on the stack:
 *
 *     44 inputs of the row    60 step of out          76 shift right    92 bytes from one row's inputs to the next's
 *     48 records' end         64 bias                 80 its offset     96 bytes of the code before the first record's,
 *     52 outputs a row        68 records              84 rows left         then the address of the first record's
 *     56 out, of the row      72 multiplier           88 out's row step
 *
 * Below it are the outputs left in the row, [sp], and the address of the next one, [sp, #4].
 */
#define TG_M4_PLANE(TAPS) \
        "  push   {r0-r3}\n" \
        "  push   {r4-r11, lr}\n" \
        "  sub    sp, sp, #8\n" \
        "  mov    r2, r1\n" \
        "  adr    r4, 3f + 1\n" \
        "  ldr    r5, [sp, #96]\n" \
        "  add    r4, r4, r5\n" \
        "  str    r4, [sp, #96]\n" \
        "1:\n" /* a row */ \
        "  ldrd   r3, r4, [sp, #52]\n" \
        "  strd   r3, r4, [sp]\n" \
        "2:\n" /* a block */ \
        "  ldrd   r4, r1, [sp, #64]\n" \
        "  mov    r5, r4\n" \
        "  mov    r6, r4\n" \
        "  mov    r7, r4\n" \
        "  ldr    pc, [sp, #96]\n" \
        "  .balign 4\n" \
        "3:\n" \
        TAPS TAPS TAPS \
        "  cmp    r1, r2\n" \
        "  bne    3b\n" \
        "  ldr    r3, [r1]\n" \
        "  add    r0, r0, r3\n" \
        "  add    r3, sp, #72\n" \
        "  ldm    r3, {r11, r12, lr}\n" \
        TG_M4_SCALE_ONE("r4") \
        TG_M4_SCALE_ONE("r5") \
        TG_M4_SCALE_ONE("r6") \
        TG_M4_SCALE_ONE("r7") \
        "  ldrd   r3, r8, [sp]\n" \
        "  ldr    r9, [sp, #60]\n" \
        "  strb   r4, [r8]\n" \
        "  subs   r3, r3, #4\n" \
        "  blt    4f\n" \
        "  strb   r5, [r8, r9]\n" \
        "  strb   r6, [r8, r9, lsl #1]\n" \
        "  add    r8, r8, r9, lsl #2\n" \
        "  sub    r9, r8, r9\n" \
        "  strb   r7, [r9]\n" \
        "  strd   r3, r8, [sp]\n" \
        "  bne    2b\n" \
        "  b      5f\n" \
        "4:\n" /* the last block has one to three outputs: r3 is -3 to -1 */ \
        "  cmp    r3, #-2\n" \
        "  it     ge\n" \
        "  strbge r5, [r8, r9]\n" \
        "  it     gt\n" \
        "  strbgt r6, [r8, r9, lsl #1]\n" \
        "5:\n" \
        "  ldr    r0, [sp, #44]\n" \
        "  ldr    r3, [sp, #92]\n" \
        "  ldr    r4, [sp, #56]\n" \
        "  ldrd   r5, r6, [sp, #84]\n" \
        "  add    r0, r0, r3\n" \
        "  add    r4, r4, r6\n" \
        "  str    r0, [sp, #44]\n" \
        "  str    r4, [sp, #56]\n" \
        "  subs   r5, r5, #1\n" \
        "  str    r5, [sp, #84]\n" \
        "  bne    1b\n" \
        "  add    sp, sp, #8\n" \
        "  pop    {r4-r11, lr}\n" \
        "  add    sp, sp, #16\n" \
        "  bx     lr\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void
tg_m4_plane_by1(const tg_lane_t *x, const uint32_t *end, int32_t count, int8_t *out, int32_t step, int32_t bias,
                const void *taps, int32_t multiplier, int32_t right, int32_t offset, int32_t rows, int32_t row_step,
                int32_t row_bytes, int32_t skipped)
{
    __asm volatile(TG_M4_PLANE(TG_M4_TAPS_BY_1));
}

__attribute__((naked, noinline)) TG_CORE void
tg_m4_plane_by2(const tg_lane_t *x, const uint32_t *end, int32_t count, int8_t *out, int32_t step, int32_t bias,
                const void *taps, int32_t multiplier, int32_t right, int32_t offset, int32_t rows, int32_t row_step,
                int32_t row_bytes, int32_t skipped)
{
    __asm volatile(TG_M4_PLANE(TG_M4_TAPS_BY_2));
}
#pragma GCC diagnostic pop
/* clang-format on */

/* The bytes of a round's code that are skipped when it is entered, so that the last round ends with the records.
 */
static inline int32_t tg_m4_skipped(const tg_plane_t *plane, bool later)
{
    const int32_t records = plane->height * ((tg_m4_reach(plane, later) + 3) / 4);
    const int32_t odd = records % TG_M4_RECORDS;
    return (odd == 0) ? 0 : ((TG_M4_RECORDS - odd) * TG_M4_RECORD_BYTES);
}

/* Computes a channel's band, from bias to int8, where the layer is plain and its column stride is 1. */
TG_CORE void tg_core_plane_by1(const tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel,
                               int8_t *out)
{
    const int32_t lane = (int32_t)sizeof(tg_lane_t);
    const uint32_t *end = tg_m4_taps(plane, true, TG_FOUR * lane);
    const int32_t right = -layer->requant.shift[channel];
    tg_m4_plane_by1(plane->x, end, plane->count, out, plane->step, layer->bias[channel], plane->taps,
                    layer->requant.multiplier[channel], right,
                    tg_scale_offset(layer->requant.zero_point, right), plane->rows, plane->row_step,
                    plane->pitch * plane->row_stride * lane, tg_m4_skipped(plane, true));
}

/* The same for a column stride of 2. */
TG_CORE void tg_core_plane_by2(const tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel,
                               int8_t *out)
{
    const int32_t lane = (int32_t)sizeof(tg_lane_t);
    const uint32_t *end = tg_m4_taps(plane, false, 2 * TG_FOUR * lane);
    const int32_t right = -layer->requant.shift[channel];
    tg_m4_plane_by2(plane->x, end, plane->count, out, plane->step, layer->bias[channel], plane->taps,
                    layer->requant.multiplier[channel], right,
                    tg_scale_offset(layer->requant.zero_point, right), plane->rows, plane->row_step,
                    plane->pitch * plane->row_stride * lane, tg_m4_skipped(plane, false));
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

#endif
