#include "tg_lists.h"
#include "tg_trits.h"
#include "tg_window.h"

#include <string.h>

/* Scratch: the planes, uint32 [in_c][stride_h * stride_w phases][plane_words], then the sums of a band of one
 * channel, int32 [2 * half]. */

typedef uint16_t __attribute__((may_alias)) tg_lane16_t;

#define BIAS 128

static void put(tg_lane16_t *lane, const int8_t *from, int32_t step, int32_t count)
{
    for (; count > 0; count--) {
        *lane = (uint16_t)(*from + BIAS);
        lane += 2;
        from += step;
    }
}

/* Put one row of one input channel, in the columns of one phase, into the plane. Each element goes to the low
 * lane of its own word and to the high lane of the word half a band earlier, if there is one. */
static void gather_row(const tg_conv2d_lists_t *p, const int8_t *from, int32_t step, int32_t count,
                       int32_t element, tg_lane16_t *lanes)
{
    const int32_t low = tg_min(count, p->plane_words - element);
    const int32_t before = tg_max(p->half - element, 0);
    const int32_t high = tg_min(count, p->half + p->plane_words - element) - before;
    put(lanes + (2 * element), from, step, low);
    put(lanes + (2 * (element + before - p->half)) + 1, from + (before * step), step, high);
}

static void gather(const tg_conv2d_lists_t *p, const int8_t *in, int32_t first_row, uint32_t *planes)
{
    const tg_window_t *w = &p->window;
    const int32_t top = (first_row * w->stride_h) - w->pad_top;
    const int32_t phases = w->stride_h * w->stride_w;
    for (int32_t row = 0; row < p->band_input_rows; row++) {
        const int32_t y = top + row;
        for (int32_t horizontal = 0; (horizontal < w->stride_w) && (y >= 0) && (y < w->in_h); horizontal++) {
            const int32_t x = tg_phase_start(horizontal, w->pad_left, w->stride_w);
            const int32_t phase = ((row % w->stride_h) * w->stride_w) + horizontal;
            const int32_t element = ((row / w->stride_h) * p->pitch) + ((x + w->pad_left) / w->stride_w);
            const int32_t count = (w->in_w - x + w->stride_w - 1) / w->stride_w;
            const int8_t *from = in + ((ptrdiff_t)((y * w->in_w) + x) * w->in_c);
            for (int32_t c = 0; c < w->in_c; c++) {
                uint32_t *plane = planes + (((c * phases) + phase) * p->plane_words);
                gather_row(p, from + c, w->stride_w * w->in_c, count, element, (tg_lane16_t *)plane);
            }
        }
    }
}

static void fill(uint32_t *words, uint32_t value, int32_t count)
{
    for (; count > 0; count--) {
        *words++ = value;
    }
}

/* Add words of two positions each to the sums of the earlier runs. */
static void add_lanes(const uint32_t *lanes, int32_t *low, int32_t *high)
{
    for (int32_t i = 0; i < TG_LISTS_TILE; i++) {
        const int32_t sum = (int16_t)(lanes[i] & 0xFFFFu);
        low[i] += sum;
        high[i] += (int32_t)(lanes[i] - (uint32_t)sum) >> 16;
    }
}

/* Compute all sums of one channel in a band; returns the list of the next channel. */
static const uint8_t *band_sums(const tg_conv2d_lists_t *p, const uint32_t *planes, const uint8_t *list,
                                int32_t *sums)
{
    const int32_t half = p->half;
    int32_t runs = *list++;
    (void)memset(sums, 0, sizeof *sums * 2u * (size_t)half);
    for (; runs > 0; runs--) {
        const tg_lists_run_t run = {list + 2, list[0], list[1], p->unit_bytes};
        for (int32_t word = 0; word < half; word += TG_LISTS_TILE) {
            uint32_t lanes[TG_LISTS_TILE];
            tg_lists_run(planes + word, &run, lanes);
            add_lanes(lanes, sums + word, sums + half + word);
        }
        list = run.steps + run.minus + run.plus;
    }
    return list;
}

/* Store one channel's outputs in a band. They are one pixel apart, also from the end of a row to the next. */
__attribute__((noinline)) static void plain_outputs(const tg_conv2d_lists_t *p,
                                                    const tg_trit_channel_t *channel, const int32_t *sums,
                                                    int32_t rows, int8_t *out)
{
    const tg_trit_narrow_t narrow = tg_trits_narrow(channel, p->scale.zero_point);
    const int32_t step = p->window.out_c;
    const int32_t width = p->window.out_w;
    out += channel->channel;
    for (; rows > 0; rows--) {
        for (int32_t x = 0; x < width; x++) {
            *out = tg_trits_plain(narrow, sums[x]);
            out += step;
        }
        sums += p->pitch;
    }
}

static void any_outputs(const tg_conv2d_lists_t *p, const tg_trit_channel_t *channel, const int32_t *sums,
                        int32_t rows, tg_sink_t to)
{
    for (; rows > 0; rows--) {
        for (int32_t x = 0; x < p->window.out_w; x++) {
            tg_trits_any(&p->scale, channel, sums[x], to);
            to = tg_sink_at(to, p->window.out_c);
        }
        sums += p->pitch;
    }
}

void tg_conv2d_lists(const tg_conv2d_lists_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                     void *scratch)
{
#ifdef TG_CORE_HAS_CONVOLUTION /* the host has its own way for some layers */
    if (tg_core_lists(p, in, out, accumulators)) {
        return;
    }
#endif
    const tg_window_t *w = &p->window;
    const tg_sink_t image = {out, accumulators};
    const int32_t words = w->in_c * w->stride_h * w->stride_w * p->plane_words;
    const uint32_t padding = (uint32_t)(p->in_zero_point + BIAS) * 0x10001u;
    const bool plain = tg_trits_are_plain(&p->scale, image);
    uint32_t *planes = scratch;
    int32_t *sums = (int32_t *)(planes + words);
    for (int32_t row = 0; row < w->out_h; row += p->band_rows) {
        const int32_t rows = tg_min(p->band_rows, w->out_h - row);
        const uint8_t *list = p->lists;
        fill(planes, padding, words);
        gather(p, in, row, planes);
        for (int32_t c = 0; c < w->out_c; c++) {
            list = band_sums(p, planes, list, sums);
            const tg_sink_t to = tg_sink_at(image, row * w->out_w * w->out_c);
            if (plain) {
                plain_outputs(p, p->channels + c, sums, rows, to.out);
            } else {
                any_outputs(p, p->channels + c, sums, rows, to);
            }
        }
    }
}
