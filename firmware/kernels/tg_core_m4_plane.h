/* Depthwise convolution over a plane on cores with the DSP extension; tg_core_m4.h includes this at its end. */
#ifndef TG_CORE_M4_PLANE_H
#define TG_CORE_M4_PLANE_H

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

#endif
