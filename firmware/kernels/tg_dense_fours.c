/* Ternary dense layers by tables: one has all 81 sums that four activations can have with four trits, and answers four
 * trits of every unit with one load. Its index is the number whose digits of base 3 are trit + 1, the first activation's the
 * lowest. Scratch: the units' sums, int32 [piece], and the table. */
#include "tg_output.h"

#define VALUES 81 /* of four digits */
#define TOGETHER 4

static void fill(const int8_t x[4], int16_t *table)
{
    int32_t sums[4]; /* of the last activations, from the fourth down to the second */
    sums[3] = -x[3];
    for (int32_t i = 0; i < 3; i++) {
        sums[2] = sums[3] - x[2];
        for (int32_t j = 0; j < 3; j++) {
            sums[1] = sums[2] - x[1];
#pragma GCC unroll 3
            for (int32_t k = 0; k < 3; k++) {
                table[0] = (int16_t)(sums[1] - x[0]);
                table[1] = (int16_t)sums[1];
                table[2] = (int16_t)(sums[1] + x[0]);
                table += 3;
                sums[1] += x[1];
            }
            sums[2] += x[2];
        }
        sums[3] += x[3];
    }
}

/* sums[i] += table[codes[i]]; count is a multiple of TOGETHER. */
static const uint8_t *add(const int16_t *table, const uint8_t *codes, int32_t *sums, int32_t count)
{
    for (const int32_t *end = sums + count; sums < end; sums += TOGETHER) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < TOGETHER; i++) {
            sums[i] += table[codes[i]];
        }
        codes += TOGETHER;
    }
    return codes;
}

void tg_dense_fours(const tg_dense_fours_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                    void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_fours(p, in, out, accumulators)) {
        return;
    }
#endif
    int32_t *sums = scratch;
    int16_t *table = (int16_t *)(void *)(sums + p->piece);
    const uint8_t *codes = p->codes;
    for (int32_t first = 0; first < p->units; first += p->piece) {
        const int32_t units = tg_min(p->piece, p->units - first);
        const int32_t padded = (units + TOGETHER - 1) / TOGETHER * TOGETHER;
        int32_t zero = 0;
        __asm("" : "+r"(zero)); /* else the compiler calls memset */
        for (int32_t i = 0; i < padded; i++) {
            sums[i] = zero;
        }
        for (int32_t k = 0; k < p->depth; k += 4) {
            int8_t x[4];
            for (int32_t i = 0; i < 4; i++) {
                x[i] = ((k + i) < p->depth) ? in[k + i] : 0;
            }
            fill(x, table);
            codes = add(table, codes, sums, padded);
        }
        for (int32_t i = first; i < (first + units); i++) {
            const int32_t acc = tg_add_wrap(sums[i - first] * p->layer.magnitude[i], p->layer.bias[i]);
            out[i] = tg_requantised(&p->layer.requant, acc, p->layer.requant.multiplier[i],
                                    p->layer.requant.shift[i]);
            if (accumulators != NULL) {
                accumulators[i] = acc;
            }
        }
    }
}
