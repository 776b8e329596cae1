/* Copies of bytes, for all cores without vectors. */
#ifndef TG_CORE_COPY_H
#define TG_CORE_COPY_H

#include <stdint.h>
#include <string.h>

TG_CORE void tg_core_copy(int8_t *to, const int8_t *from, int32_t count)
{
    int32_t i = 0;
#if !defined(__ARM_ARCH) || defined(__ARM_FEATURE_UNALIGNED) /* otherwise these would be calls */
    for (; (i + 4) <= count; i += 4) {
        (void)memcpy(to + i, from + i, 4);
    }
#endif
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

#endif
