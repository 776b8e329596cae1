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

/* The next four weights of a row that has `left` of them, as bytes, with zeros behind the last. Four bytes that end
 * with the row may be read where they begin at `first` or later, the channel's first weight. */
static inline uint32_t tg_m4_tap_bytes(const int8_t *weights, int32_t left, const int8_t *first)
{
    uint32_t bytes = 0;
    if (left >= 4) {
        bytes = tg_m4_load(weights);
    } else if ((left > 0) && ((weights + left) >= (first + 4))) {
        bytes = tg_m4_load(weights + left - 4) >> (8 * (4 - left));
    } else {
        for (; left > 0; left--) {
            bytes = (bytes << 8) | (uint8_t)weights[left - 1];
        }
    }
    return bytes;
}

/* Writes the record of four weights, bytes, that lies `delta` bytes behind the one before; `last` is the weight before
 * them in the row, as a lane. Returns where the next record goes. */
__attribute__((always_inline)) static inline uint32_t *
tg_m4_record(uint32_t *to, uint32_t delta, uint32_t bytes, bool later, uint32_t *last)
{
    /* Before the registers are set: without optimisation these are calls. */
    const uint32_t even = tg_m4_even(bytes);
    const uint32_t odd = tg_m4_odd(bytes);
    register uint32_t r3 __asm("r3") = delta;
    register uint32_t r4 __asm("r4"); /* w0 w1 */
    register uint32_t r5 __asm("r5"); /* w2 w3 */
    __asm("pkhbt %0, %2, %3, lsl #16\n\tpkhtb %1, %3, %2, asr #16"
          : "=&r"(r4), "=r"(r5)
          : "r"(even), "r"(odd));
    if (later) {
        register uint32_t r6 __asm("r6");   /* last w0 */
        register uint32_t r12 __asm("r12"); /* w1 w2 */
        __asm("pkhbt %0, %2, %3, lsl #16\n\tpkhbt %1, %4, %3"
              : "=&r"(r6), "=r"(r12)
              : "r"(*last), "r"(even), "r"(odd));
        __asm volatile("stm %0!, {r3-r6, r12}"
                       : "+r"(to)
                       : "r"(r3), "r"(r4), "r"(r5), "r"(r6), "r"(r12)
                       : "memory");
    } else {
        __asm volatile("stm %0!, {r3-r5}" : "+r"(to) : "r"(r3), "r"(r4), "r"(r5) : "memory");
    }
    *last = odd >> 16;
    return to;
}

/* Returns the records' end. */
__attribute__((always_inline)) static inline uint32_t *tg_m4_taps(const tg_plane_t *plane, bool later)
{
    const int8_t *weights = plane->weights;
    uint32_t *to = (uint32_t *)(void *)plane->taps;
    int32_t delta = 0;
    int32_t rows = plane->height;
    do {
        uint32_t last = 0;
        int32_t left = plane->width;
        do {
            to = tg_m4_record(to, (uint32_t)delta, tg_m4_tap_bytes(weights, left, plane->weights), later,
                              &last);
            delta = 8;
            weights += 4;
            left -= 4;
            /* else the compiler works one out from the other behind the loop */
            __asm("" : "+r"(weights), "+r"(left));
        } while (left > (later ? -1 : 0));
        weights += left;
        delta = plane->back;
        rows--;
    } while (rows > 0);
    *to = (uint32_t)plane->again;
    return to;
}

#define TG_CORE_HAS_PLANE

_Static_assert((offsetof(tg_plane_t, multiplier) == 28) && (offsetof(tg_plane_t, skipped) == 52),
               "the code below has these offsets");

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

/* Computes all outputs of a plane in blocks of four, from bias to int8. The first fields of the plane, r0, are copied to
 * the stack:
 *
 *     8  x, of the row        24 step          40 right shift    56 bytes from one row's inputs to the next's
 *     12 records' end         28 bias          44 its offset     60 bytes of the code before the first record's,
 *     16 outputs a row        32 records       48 rows left         then the address of the first record's
 *     20 out, of the row      36 multiplier    52 out's row step
 *
 * Below them are the outputs left in the row, [sp], and the address of the next one, [sp, #4].
 */
#define TG_M4_PLANE(TAPS) \
        "  push   {r4-r11, lr}\n" \
        "  add    r1, r0, #28\n" \
        "  ldm    r1, {r2-r8}\n" \
        "  push   {r2-r8}\n" \
        "  ldm    r0, {r0, r2-r7}\n" \
        "  push   {r0, r2-r7}\n" \
        "  sub    sp, sp, #8\n" \
        "  adr    r4, 3f + 1\n" \
        "  ldr    r5, [sp, #60]\n" \
        "  add    r4, r4, r5\n" \
        "  str    r4, [sp, #60]\n" \
        "1:\n" /* a row */ \
        "  ldrd   r3, r4, [sp, #16]\n" \
        "  strd   r3, r4, [sp]\n" \
        "2:\n" /* a block */ \
        "  ldrd   r4, r1, [sp, #28]\n" \
        "  mov    r5, r4\n" \
        "  mov    r6, r4\n" \
        "  mov    r7, r4\n" \
        "  ldr    pc, [sp, #60]\n" \
        "  .balign 4\n" \
        "3:\n" \
        TAPS TAPS TAPS \
        "  cmp    r1, r2\n" \
        "  bne    3b\n" \
        "  ldr    r3, [r1]\n" \
        "  add    r0, r0, r3\n" \
        "  add    r3, sp, #36\n" \
        "  ldm    r3, {r11, r12, lr}\n" \
        TG_M4_SCALE_ONE("r4") \
        TG_M4_SCALE_ONE("r5") \
        TG_M4_SCALE_ONE("r6") \
        TG_M4_SCALE_ONE("r7") \
        "  ldrd   r3, r8, [sp]\n" \
        "  ldr    r9, [sp, #24]\n" \
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
        "  ldr    r0, [sp, #8]\n" \
        "  ldr    r3, [sp, #56]\n" \
        "  ldr    r4, [sp, #20]\n" \
        "  ldrd   r5, r6, [sp, #48]\n" \
        "  add    r0, r0, r3\n" \
        "  add    r4, r4, r6\n" \
        "  str    r0, [sp, #8]\n" \
        "  str    r4, [sp, #20]\n" \
        "  subs   r5, r5, #1\n" \
        "  str    r5, [sp, #48]\n" \
        "  bne    1b\n" \
        "  add    sp, sp, #64\n" \
        "  pop    {r4-r11, pc}\n"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter" /* read by name of register */
__attribute__((naked, noinline)) TG_CORE void
tg_m4_plane_by1(const tg_plane_t *plane)
{
    __asm volatile(TG_M4_PLANE(TG_M4_TAPS_BY_1));
}

__attribute__((naked, noinline)) TG_CORE void
tg_m4_plane_by2(const tg_plane_t *plane)
{
    __asm volatile(TG_M4_PLANE(TG_M4_TAPS_BY_2));
}
#pragma GCC diagnostic pop
/* clang-format on */

/* Sets what all channels share: the bytes of a round's code that are skipped when it is entered, so that the last
 * round ends with the records, and those from the inputs of the last record of a row to those of the next row's first,
 * and from those of all rows' last to the next four outputs' first. */
__attribute__((noinline)) TG_CORE void tg_m4_begin(tg_plane_t *plane, bool later)
{
    const int32_t a_row = (tg_m4_reach(plane, later) + 3) / 4;
    const int32_t odd = (plane->height * a_row) % TG_M4_RECORDS;
    const int32_t pitch = plane->pitch * plane->dilation * (int32_t)sizeof(tg_lane_t);
    plane->skipped = (odd == 0) ? 0 : ((TG_M4_RECORDS - odd) * TG_M4_RECORD_BYTES);
    plane->row_bytes = plane->pitch * plane->row_stride * (int32_t)sizeof(tg_lane_t);
    plane->back = pitch - (8 * (a_row - 1));
    plane->again = ((later ? 8 : 16) - ((plane->height - 1) * pitch)) - (8 * (a_row - 1));
}

/* Sets what is not yet in the plane. */
static inline void tg_m4_prepare(tg_plane_t *plane, bool later, const tg_weighted_t *layer, int32_t channel,
                                 int8_t *out)
{
    const int32_t right = -layer->requant.shift[channel];
    if (plane->records_end == NULL) {
        tg_m4_begin(plane, later);
    }
    plane->records_end = tg_m4_taps(plane, later);
    plane->out = out;
    plane->bias = layer->bias[channel];
    plane->multiplier = layer->requant.multiplier[channel];
    plane->right = right;
    plane->offset = tg_scale_offset(layer->requant.zero_point, right);
}

/* Computes a channel's band, from bias to int8, where the layer is plain and its column stride is 1. */
TG_CORE void tg_core_plane_by1(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel, int8_t *out)
{
    tg_m4_prepare(plane, true, layer, channel, out);
    tg_m4_plane_by1(plane);
}

/* The same for a column stride of 2. */
TG_CORE void tg_core_plane_by2(tg_plane_t *plane, const tg_weighted_t *layer, int32_t channel, int8_t *out)
{
    tg_m4_prepare(plane, false, layer, channel, out);
    tg_m4_plane_by2(plane);
}

#endif
