/* Long short-term memory over the rows of a sequence: int8 in and out, 16-bit gates and cell. */
#ifndef TG_LSTM_H
#define TG_LSTM_H

#include "tg_kernels.h"

/* The gates are, in this order, input, forget, cell and output. Each has one sum over the row and one over the
 * hidden state, each with a scale of its own; zero points are in the biases.
 */
typedef struct {
    const int8_t *weights; /* [4][units][depth + units] */
    const int32_t *bias;   /* [4][units][2] */
    const int32_t *scales; /* [4][2][2]: multiplier and shift of each sum, to 2^-12 a step */
    const uint16_t *curve; /* [256]: the sigmoid of i / 24, in 2^-16 */
    int32_t steps, depth, units;
    tg_scale_t forget, input, output; /* of the products that change the cell and give the output */
    int32_t clip;                     /* of the cell; -1: none */
    int32_t tanh_multiplier, tanh_shift;
    int32_t out_zero_point;
} tg_lstm_t;

/* in[steps][depth] -> out[steps][units]. hidden[units] and cell, int16[units] and aligned to 4 bytes, are kept from
 * one call to the next. Rows are written in order, each after all of its input was read; nothing overlaps.
 */
void tg_lstm(const tg_lstm_t *p, const int8_t *in, int8_t *hidden, int8_t *cell, int8_t *out);

#endif
