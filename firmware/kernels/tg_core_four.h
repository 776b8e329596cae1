/* Depthwise convolutions on cores with MLA: M3, and what M4 and M55 have no faster way for. */
#ifndef TG_CORE_FOUR_H
#define TG_CORE_FOUR_H

#include <stdint.h>

/* Four neighbouring outputs at once, so that each tap is read once for all of them and their sums stay in
 * registers: twelve instructions for four products. A plane's rows hold whole blocks, so the surplus outputs of
 * the last block read valid memory; their sums are not used. */
TG_CORE void tg_core_four(const tg_plane_t *plane, const tg_lane_t *x, int32_t bias, int32_t *sums)
{
    const int32_t pitch = plane->pitch * plane->dilation;
    const int8_t *taps = plane->weights;
    int32_t a = bias;
    int32_t b = bias;
    int32_t c = bias;
    int32_t d = bias;
    for (int32_t ky = plane->height; ky > 0; ky--) {
        const tg_lane_t *row = x;
#ifdef __OPTIMIZE__
        int32_t tap;
        int32_t in;
        /* clang-format off */
        __asm volatile(
            "1:\n"
            "  ldrsb  %[tap], [%[taps]], #1\n"
            "  ldrsh  %[in], [%[x], %[stride], lsl #1]\n"
            "  mla    %[b], %[tap], %[in], %[b]\n"
            "  ldrsh  %[in], [%[x], %[stride], lsl #2]\n"
            "  mla    %[c], %[tap], %[in], %[c]\n"
            "  ldrsh  %[in], [%[x], %[stride3], lsl #1]\n"
            "  mla    %[d], %[tap], %[in], %[d]\n"
            "  ldrsh  %[in], [%[x]]\n"
            "  add    %[x], %[x], %[gap], lsl #1\n"
            "  mla    %[a], %[tap], %[in], %[a]\n"
            "  cmp    %[taps], %[end]\n"
            "  bne    1b\n"
            : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(row), [taps] "+r"(taps),
              [tap] "=&r"(tap), [in] "=&r"(in)
            : [stride] "r"(plane->stride), [stride3] "r"(3 * plane->stride), [gap] "r"(plane->gap),
              [end] "r"(taps + plane->width)
            : "cc", "memory");
        /* clang-format on */
#else /* where variables stay in memory, registers are too few for the above */
        for (int32_t kx = plane->width; kx > 0; kx--) {
            a += *taps * row[0];
            b += *taps * row[plane->stride];
            c += *taps * row[2 * plane->stride];
            d += *taps * row[3 * plane->stride];
            row += plane->gap;
            taps++;
        }
#endif
        x += pitch;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#endif
