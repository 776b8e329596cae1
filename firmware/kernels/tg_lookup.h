/* Functions of one element, as tables that the generator computes. */
#ifndef TG_LOOKUP_H
#define TG_LOOKUP_H

#include <stdint.h>

/* table holds 256 outputs; the bits of an int8 input, read as uint8, are the index. */
typedef struct {
    int32_t size;
    const int8_t *table;
} tg_lookup_t;

/* Element i is read before it is written, so out may be in. */
void tg_lookup(const tg_lookup_t *p, const int8_t *in, int8_t *out);

#endif
