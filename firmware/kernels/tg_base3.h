/* Ternary weights in base 3: a 32-bit word holds twenty trits, 1.6 bits each. They are turned back into words
 * of two-bit trits before they are used.
 *
 * A word is read as a fraction of 2^32. If d1 ... d20 are the digits 0, 1 or 2 that it holds, then
 *
 *     word = ceil(v * 2^32 / 3^20),    v = d1 * 3^19 + ... + d20 < 3^20 < 2^32
 *
 * Its product with 81 has the first four digits above bit 31, and below that the fraction that holds the
 * remaining digits:
 *
 *     word * 81 = | d1 * 27 + d2 * 9 + d3 * 3 + d4 | rest |
 *
 * Proof. The ceiling adds less than 1 to v * 2^32 / 3^20, and 1 / 2^32 < 1 / 3^20. So word / 2^32 lies in
 * [v / 3^20, (v + 1) / 3^20), where the first twenty digits of every fraction are those of v. Removing the
 * integer part of a product is exact.
 *
 * A table maps each value of four digits to a byte of four two-bit trits. A word therefore becomes five
 * bytes, each of which takes one multiplication, one load and one store.
 */
#ifndef TG_BASE3_H
#define TG_BASE3_H

#include <stddef.h>
#include <stdint.h>

#define TG_BASE3_VALUES 81

/* The bytes for all values of four digits, with the last digit in the lowest bits. A digit equals the two
 * bits of its trit, except that a 2 in the second or the fourth field becomes `two`. */
#define TG_BASE3_D4(x) (uint8_t)(x), (uint8_t)((x) + 1), (uint8_t)((x) + 2)
#define TG_BASE3_D3(x, two) TG_BASE3_D4(x), TG_BASE3_D4((x) + (1 << 2)), TG_BASE3_D4((x) + ((two) << 2))
#define TG_BASE3_D2(x, two)                                                                                  \
    TG_BASE3_D3(x, two), TG_BASE3_D3((x) + (1 << 4), two), TG_BASE3_D3((x) + (2 << 4), two)
#define TG_BASE3_BYTES(two)                                                                                  \
    {                                                                                                        \
        TG_BASE3_D2(0, two), TG_BASE3_D2(1 << 6, two), TG_BASE3_D2((two) << 6, two)                          \
    }

/* Remove the next four digits from the fraction and return their value; values is TG_BASE3_VALUES. */
static inline uint32_t tg_base3_next(uint32_t *fraction, uint32_t values)
{
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
    /* There is no long multiplication here: the products of the halves with 81, plus a carry, fit 32 bits. */
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

/* Decode packed words into `count` words of sixteen two-bit trits. Since a packed word becomes five bytes, up
 * to four more bytes are written. Returns the packed word that follows. */
static inline const uint32_t *tg_base3_decode(const uint32_t *packed, int32_t count, const uint8_t *bytes,
                                              uint32_t *trits)
{
    uint32_t values = TG_BASE3_VALUES;
    uint8_t *to = (uint8_t *)trits;
    __asm("" : "+r"(values)); /* else the compiler turns the product with 81 into shifts and additions */
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
