/* Sums, maxima and minima over any axes. */
#ifndef TG_REDUCE_H
#define TG_REDUCE_H

#include "tg_kernels.h"

#define TG_REDUCE_AXES 3

/* Output elements follow the kept axes, outermost first. Each is made of the elements along the reduced axes.
 * Steps count elements of the input. tg_sum rescales; a mean's scale includes the division. */
typedef struct {
    int32_t kept_sizes[TG_REDUCE_AXES];
    int32_t kept_steps[TG_REDUCE_AXES];
    int32_t reduced_sizes[TG_REDUCE_AXES];
    int32_t reduced_steps[TG_REDUCE_AXES];
    int32_t in_zero_point;
    tg_scale_t scale;
    int32_t out_zero_point;
} tg_reduce_t;

void tg_sum(const tg_reduce_t *p, const int8_t *in, int8_t *out);
void tg_reduce_max(const tg_reduce_t *p, const int8_t *in, int8_t *out);
void tg_reduce_min(const tg_reduce_t *p, const int8_t *in, int8_t *out);

#endif
