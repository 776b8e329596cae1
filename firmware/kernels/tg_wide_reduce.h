/* Sums and means of int16 over any axes. */
#ifndef TG_WIDE_REDUCE_H
#define TG_WIDE_REDUCE_H

#include "tg_reduce.h"

/* Sums wrap at 32 bits, as in TensorFlow Lite Micro; the zero points are not used. */
void tg_wide_sum(const tg_reduce_t *p, const void *in, void *out);

#endif
