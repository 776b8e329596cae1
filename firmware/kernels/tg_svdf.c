#include "tg_svdf.h"

#include "tg_fixed.h"

#include <stddef.h>

static int32_t seen(const tg_svdf_t *p, int32_t filter, const int8_t *in)
{
    const int8_t *const weights = p->weights + ((ptrdiff_t)filter * p->depth);
    int32_t sum = p->offset[filter];
    for (int32_t i = 0; i < p->depth; i++) {
        sum = tg_add_wrap(sum, weights[i] * in[i]);
    }
    return tg_multiply(sum, p->seen.multiplier, p->seen.shift);
}

/* What one filter saw moves on by one, and is weighted. */
static int32_t filtered_wide(int32_t value, int32_t size, int16_t *memory, const int16_t *time)
{
    const int32_t latest = tg_min(tg_max(value, INT16_MIN), INT16_MAX);
    int32_t sum = time[size - 1] * latest;
    for (int32_t i = 0; i < (size - 1); i++) {
        const int16_t next = memory[i + 1];
        sum = tg_add_wrap(sum, time[i] * next);
        memory[i] = next;
    }
    memory[size - 1] = (int16_t)latest;
    return sum;
}

/* The zero point is added behind the clamp, and the sum wraps, as in TensorFlow Lite Micro. */
static int32_t filtered_narrow(int32_t value, int32_t size, int8_t *memory, const int8_t *time,
                               int32_t zero_point)
{
    const int8_t latest = (int8_t)(uint8_t)(zero_point + tg_clamp(value, INT8_MIN, INT8_MAX));
    int32_t sum = time[size - 1] * (latest - zero_point);
    for (int32_t i = 0; i < (size - 1); i++) {
        const int8_t next = memory[i + 1];
        sum += time[i] * (next - zero_point);
        memory[i] = next;
    }
    memory[size - 1] = latest;
    return sum;
}

static int32_t filtered(const tg_svdf_t *p, int32_t filter, const int8_t *in, int8_t *state)
{
    const int32_t value = seen(p, filter, in);
    const ptrdiff_t at = (ptrdiff_t)filter * p->memory;
    if (p->narrow != NULL) {
        return filtered_narrow(value, p->memory, state + at, p->narrow + at, p->zero_point);
    }
    return filtered_wide(value, p->memory, (int16_t *)(void *)state + at, p->wide + at);
}

void tg_svdf(const tg_svdf_t *p, const int8_t *in, int8_t *state, int8_t *out)
{
    int32_t filter = 0;
    for (int32_t unit = 0; unit < p->units; unit++) {
        int32_t sum = p->bias[unit];
        for (int32_t i = 0; i < p->rank; i++) {
            sum = tg_add_wrap(sum, filtered(p, filter, in, state));
            filter++;
        }
        const int32_t value = tg_multiply(sum, p->out.multiplier, p->out.shift);
        out[unit] = tg_clamp(tg_add_wrap(value, p->out_zero_point), INT8_MIN, INT8_MAX);
    }
}
