/* Ternary weights in base 3: twenty trits a 32-bit word, 1.6 bits each, turned back into words of two-bit
 * trits before they are used.
 *
 * A word is a fraction of 2^32. With d1 ... d20 the digits 0, 1 or 2 that it holds,
 *
 *     word = ceil(v * 2^32 / 3^20),    v = d1 * 3^19 + ... + d20 < 3^20 < 2^32
 *
 * A product with 81 has the first four digits above bit 31, and below it the fraction that the others are:
 *
 *     word * 81 = | d1 * 27 + d2 * 9 + d3 * 3 + d4 | rest |
 *
 * Proof. The ceiling adds less than 1 to v * 2^32 / 3^20, and 1 / 2^32 < 1 / 3^20: so word / 2^32 lies in
 * [v / 3^20, (v + 1) / 3^20), where all fractions have the first twenty digits of v. A product that loses its
 * integer part is exact.
 *
 * A byte of four two-bit trits stands for each value of four digits in a table, so a word is five bytes:
 * for each of them one multiplication, one load and one store.
 */
#ifndef TG_BASE3_H
#define TG_BASE3_H

#include <stddef.h>
#include <stdint.h>

#define TG_BASE3_VALUES 81

/* The bytes of all values of four digits, the last digit in the lowest bits. A digit is its trit's two bits,
 * but for a 2 in the second and the fourth field, which is `two`. */
#define TG_BASE3_D4(x) (uint8_t)(x), (uint8_t)((x) + 1), (uint8_t)((x) + 2)
#define TG_BASE3_D3(x, two) TG_BASE3_D4(x), TG_BASE3_D4((x) + (1 << 2)), TG_BASE3_D4((x) + ((two) << 2))
#define TG_BASE3_D2(x, two)                                                                                  \
    TG_BASE3_D3(x, two), TG_BASE3_D3((x) + (1 << 4), two), TG_BASE3_D3((x) + (2 << 4), two)
#define TG_BASE3_BYTES(two)                                                                                  \
    {                                                                                                        \
        TG_BASE3_D2(0, two), TG_BASE3_D2(1 << 6, two), TG_BASE3_D2((two) << 6, two)                          \
    }

/* The value of the next four digits, which leave the fraction; values is TG_BASE3_VALUES. */
static inline uint32_t tg_base3_next(uint32_t *fraction, uint32_t values)
{
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
    /* without a long multiplication: halves, whose products with 81 and a carry fit 32 bits */
    const uint32_t low = (*fraction & 0xFFFFu) * values;
    const uint32_t high = ((*fraction >> 16) * values) + (low >> 16);
    *fraction *= values;
    return high >> 16;
#else
    const uint64_t product = (uint64_t)*fraction * values;
    *fraction = (uint32_t)product;
    return (uint32_t)(product >> 32);
#endif
}

/* From a whole word on, `count` words of sixteen two-bit trits, and up to four bytes more: a word is five.
 * Returns what follows. */
static inline const uint32_t *tg_base3_decode(const uint32_t *packed, int32_t count, const uint8_t *bytes,
                                              uint32_t *trits)
{
    uint32_t values = TG_BASE3_VALUES;
    uint8_t *to = (uint8_t *)trits;
    __asm("" : "+r"(values)); /* or the compiler makes shifts and additions of a product with 81 */
    for (const uint8_t *end = to + ((ptrdiff_t)count * 4); to < end; packed++) {
        uint32_t fraction = *packed;
#pragma GCC unroll 5
        for (int32_t i = 0; i < 5; i++) {
            *to++ = bytes[tg_base3_next(&fraction, values)];
        }
    }
    return packed;
}

#endif
