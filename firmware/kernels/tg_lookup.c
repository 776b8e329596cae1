#include "tg_lookup.h"

void tg_lookup(const tg_lookup_t *p, const int8_t *in, int8_t *out)
{
    const int8_t *table = p->table;
    const int32_t size = p->size;
    for (int32_t i = 0; i < size; i++) {
        out[i] = table[(uint8_t)in[i]];
    }
}
