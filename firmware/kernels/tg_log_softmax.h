/* The logarithm of a softmax. */
#ifndef TG_LOG_SOFTMAX_H
#define TG_LOG_SOFTMAX_H

#include <stdint.h>

/* Over each row; the output has scale 1/16 and zero point 127. */
typedef struct {
    int32_t rows, depth;
    int32_t multiplier, left_shift;
    int32_t back_multiplier, back_shift; /* from Q5.26 to steps of the input */
    int32_t diff_min;                    /* if x minus the row's maximum is below this, exp counts as 0 */
} tg_log_softmax_t;

void tg_log_softmax(const tg_log_softmax_t *p, const int8_t *in, int8_t *out);

#endif
