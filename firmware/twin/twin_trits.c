/* Ternary layers: their packed trits are turned into int8 weights once in a twin_run, which then take the way of the layers
 * that have such weights.
 *
 * Weights may have faults. What a layer computes is then what its device does only while no sum overflows its bounds there,
 * so a layer whose weights could do that, or are no weights of a window, is left to the device's kernel.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O1") /* compiling takes longer than all that is unpacked */
#endif

#include "tg_core.h"

#ifdef TG_CORE_HAS_CONVOLUTION
#include "tg_host_wide.h"

#include <stdlib.h>

#define WORD_POSITIONS 8    /* of a dual-channel word (tg_dual.h) */
#define DIGITS 81           /* values of four digits of base 3 (tg_base3.h) */
#define VECTORS_WORTH 4     /* inferences for which weights that meet one vector are unpacked, and */
#define WORDS_WORTH 64      /* where the device's kernel is nearly as fast */
#define LOW_NONZEROS 63     /* in a block of a low channel, and */
#define HIGH_NONZEROS 1023  /* in a segment of a high one (tg_dual.h) */
#define STEPS_OF_A_RUN 128  /* of one sign (tg_lists.h) */
#define NONZEROS 255        /* whose sums fit 16 bits (tg_taps.h) */
#define SUM_LIMIT (1 << 30) /* of a narrow layer's sums (tg_fixed.h) */

typedef int8_t bytes_t __attribute__((vector_size(TG_VECTOR)));

/* A layer with int8 weights. */
typedef struct {
    tg_weighted_t layer;
    int32_t channels;
    int32_t positions, row; /* of a channel; a row's bytes may be more */
    int32_t *bias, *multiplier;
    int8_t *shift, *weights;
    uint8_t *magnitude;
    bool usable;
} ternary_t;

/* Memory for a layer, not yet written where *fresh. There is one row more than channels, for lanes without a channel. */
static ternary_t *kept_layer(const void *packed, const void *channels, const tg_window_t *w,
                             int32_t positions, int32_t row, bool *fresh)
{
    const twin_key_t key = {{packed, channels, NULL}};
    const size_t count = (size_t)w->out_c;
    const size_t bytes = (count * ((2 * sizeof(int32_t)) + 2)) + ((count + 1) * (size_t)row);
    ternary_t *t = twin_kept(key, sizeof *t + bytes, fresh);
    if (*fresh) {
        int32_t *numbers = (int32_t *)(void *)(t + 1);
        int8_t *behind = (int8_t *)(numbers + (2 * count));
        *t = (ternary_t){.channels = w->out_c,
                         .positions = positions,
                         .row = row,
                         .bias = numbers,
                         .multiplier = numbers + count,
                         .shift = behind,
                         .magnitude = (uint8_t *)behind + count,
                         .weights = behind + (2 * count),
                         .usable = true};
    }
    return t;
}

/* A convolution's rows end in whole blocks of any format. */
static ternary_t *kept_convolution(const void *packed, const void *channels, const tg_window_t *w,
                                   bool *fresh)
{
    const int32_t positions = w->kernel_h * w->kernel_w * w->in_c;
    return kept_layer(packed, channels, w, positions, (positions + 63) & ~63, fresh);
}

static ternary_t *kept_depthwise(const void *packed, const void *channels, const tg_window_t *w, bool *fresh)
{
    const int32_t taps = w->kernel_h * w->kernel_w;
    return kept_layer(packed, channels, w, taps, taps, fresh);
}

static int8_t *row_of(ternary_t *t, int32_t channel)
{
    return t->weights + ((ptrdiff_t)((channel < 0) ? t->channels : channel) * t->row);
}

static void set_channel(ternary_t *t, const tg_trit_channel_t *from)
{
    if (from->channel >= 0) {
        t->bias[from->channel] = from->bias;
        t->multiplier[from->channel] = from->multiplier;
        t->magnitude[from->channel] = from->magnitude;
        t->shift[from->channel] = from->shift;
    }
}

static void set_channels(ternary_t *t, const tg_trit_channel_t *from, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        set_channel(t, from + i);
    }
}

static void set_weighted(ternary_t *t, const tg_weighted_t *from)
{
    for (int32_t c = 0; c < t->channels; c++) {
        const tg_trit_channel_t channel = {from->bias[c], from->requant.multiplier[c], (int16_t)c,
                                           from->magnitude[c], from->requant.shift[c]};
        set_channel(t, &channel);
    }
}

static int32_t nonzeros(const int8_t *trits, int32_t count)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += abs(trits[i]);
    }
    return sum;
}

/* Give all trits their magnitude. What the sum of a channel's trits is multiplied by goes into its bias. */
static void finish(ternary_t *t, int32_t in_zero_point, tg_trit_scale_t scale, int32_t of_sum)
{
    for (int32_t c = 0; c < t->channels; c++) {
        int8_t *row = row_of(t, c);
        const int32_t magnitude = t->magnitude[c];
        int32_t sum = 0;
        int32_t most = 0;
        int32_t all = 0;
        for (int32_t k = 0; k < t->positions; k++) {
            const int32_t weight = row[k] * magnitude;
            row[k] = (int8_t)weight;
            most |= weight ^ (weight >> 31);
            sum += weight;
            all += abs(weight);
        }
        t->bias[c] = tg_add_wrap(t->bias[c], of_sum * sum);
        t->usable = t->usable && (most <= INT8_MAX) &&
                    ((llabs((long long)t->bias[c]) + (INT64_C(128) * all)) < SUM_LIMIT);
    }
    t->layer = (tg_weighted_t){.weights = t->weights,
                               .bias = t->bias,
                               .in_zero_point = in_zero_point,
                               .requant = {.multiplier = t->multiplier,
                                           .shift = t->shift,
                                           .zero_point = scale.zero_point,
                                           .act_min = scale.act_min,
                                           .act_max = scale.act_max,
                                           .narrow = 1}};
}

static bool convolution(const ternary_t *t, const tg_window_t *w, const int8_t *in, int8_t *out,
                        int32_t *accumulators)
{
    return t->usable && tg_core_convolution_rows(w, &t->layer, t->row, in, out, accumulators);
}

/* A depthwise layer's weights are rows without a gap. */
static bool depthwise(const ternary_t *t, const tg_window_t *w, const int8_t *in, int8_t *out)
{
    const tg_depthwise_t own = tg_wide_depthwise_of(w, t->layer);
    return t->usable && tg_core_depthwise(&own, in, out);
}

/* Whether to unpack: a layer of one pixel uses each weight once. */
static bool worth(const tg_window_t *w, int32_t narrow)
{
    return (narrow != 0) && twin_worth(((w->out_h * w->out_w) < VECTORS_WORTH) ? VECTORS_WORTH : 1);
}

static void store_eight(tg_words_t trits, int8_t *to)
{
    const bytes_t bytes = __builtin_convertvector(trits, bytes_t);
    (void)memcpy(to, &bytes, sizeof bytes);
}

/* Decode packed words into `count` words of two-bit trits and up to four more bytes, as tg_base3.h does; a digit of 2 becomes
 * `two` in the second and the fourth field of a byte. Returns the packed word that follows. */
static const uint32_t *decode_base3(const uint32_t *packed, int32_t count, uint32_t two, uint32_t *trits)
{
    uint8_t bytes[DIGITS];
    for (uint32_t v = 0; v < DIGITS; v++) {
        const uint32_t high = v / 27;
        const uint32_t low = (v / 3) % 3;
        bytes[v] = (uint8_t)((((high == 2) ? two : high) << 6) | (((v / 9) % 3) << 4) |
                             (((low == 2) ? two : low) << 2) | (v % 3));
    }
    uint8_t *to = (uint8_t *)trits;
    for (const uint8_t *end = to + ((ptrdiff_t)count * 4); to < end; packed++) {
        uint32_t fraction = *packed;
        for (int32_t i = 0; i < 5; i++) {
            const uint64_t product = (uint64_t)fraction * DIGITS;
            *to++ = bytes[product >> 32];
            fraction = (uint32_t)product;
        }
    }
    return packed;
}

/* --- dual-channel words ------------------------------------------------------------------------------------------- */

/* Whether a row of trits keeps the bound of a run of words, and is zero behind its positions. */
static bool keeps(const int8_t *row, int32_t positions, int32_t words, int32_t run, int32_t most)
{
    for (int32_t first = 0; first < words; first += run) {
        if (nonzeros(row + (WORD_POSITIONS * first), WORD_POSITIONS * tg_min(run, words - first)) > most) {
            return false;
        }
    }
    return nonzeros(row + positions, (WORD_POSITIONS * words) - positions) == 0;
}

/* The words of one pair of channels lie `step` apart. */
static void unpack_pair(ternary_t *t, const tg_dual_t *p, const uint32_t *trits, int32_t step, int32_t low,
                        int32_t high)
{
    const tg_words_t of_low = {0, 4, 16, 20, 8, 12, 24, 28}; /* where the codes of eight positions are */
    const tg_words_t of_high = {14, 18, 30, 2, 22, 26, 6, 10};
    int8_t *lows = row_of(t, low);
    int8_t *highs = row_of(t, high);
    for (int32_t word = 0; word < p->words; word++) {
        const tg_words_t all = tg_host_all((int32_t)trits[(ptrdiff_t)word * step]);
        store_eight(((all >> of_low) & 3) - 1, lows + (WORD_POSITIONS * word));
        if (high >= 0) {
            store_eight((((all >> of_high) & 3) ^ 2) - 2, highs + (WORD_POSITIONS * word));
        }
    }
    t->usable = t->usable && keeps(lows, t->positions, p->words, p->block_words, LOW_NONZEROS) &&
                ((high < 0) || keeps(highs, t->positions, p->words, p->segment_words, HIGH_NONZEROS));
}

static void unpack_pairs(ternary_t *t, const tg_dual_t *p, int32_t together)
{
    for (int32_t pair = 0; pair < p->pairs; pair++) {
        const int32_t first = (pair / together) * together;
        const tg_trit_channel_t *low = p->lanes + first + pair;
        unpack_pair(t, p, p->trits + ((ptrdiff_t)first * p->words) + (pair - first), together, low->channel,
                    low[together].channel);
        set_channel(t, low);
        set_channel(t, low + together);
    }
}

bool tg_core_dual(const tg_dual_t *p, int32_t together, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow) || !twin_worth((together > 1) ? WORDS_WORTH : 1)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->trits, p->lanes, &p->window, &fresh);
    if (fresh) {
        unpack_pairs(t, p, together);
        finish(t, p->in_zero_point, p->scale, 0);
    }
    return convolution(t, &p->window, in, out, accumulators);
}

bool tg_core_dual_base3(const tg_dual_base3_t *p, int32_t together, const int8_t *in, int8_t *out,
                        int32_t *accumulators, void *scratch)
{
    const tg_window_t *w = &p->dual.window;
    bool fresh;
    if (!worth(w, p->dual.scale.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->packed, p->dual.lanes, w, &fresh);
    if (fresh) {
        const uint32_t *packed = p->packed;
        tg_dual_t group = p->dual;
        group.trits = scratch;
        for (int32_t pair = 0; pair < p->dual.pairs; pair += p->group) {
            group.pairs = tg_min(p->group, p->dual.pairs - pair);
            group.lanes = p->dual.lanes + (2 * (ptrdiff_t)pair);
            packed = decode_base3(packed, group.pairs * group.words, 3, scratch);
            unpack_pairs(t, &group, together);
        }
        finish(t, p->dual.in_zero_point, p->dual.scale, 0);
    }
    return convolution(t, w, in, out, accumulators);
}

/* --- two bits a trit ----------------------------------------------------------------------------------------------- */

/* Trits of several channels, one after the other. */
static void unpack_stream(ternary_t *t, const uint32_t *trits, int32_t first, int32_t channels)
{
    for (int32_t c = 0; c < channels; c++) {
        int8_t *to = row_of(t, first + c);
        const int32_t start = c * t->positions;
        for (int32_t k = 0; k < t->positions; k++) {
            const uint32_t at = (uint32_t)(start + k);
            to[k] =
                (int8_t)((int32_t)((trits[at / TG_TRITS_PER_WORD] >> (2u * (at % TG_TRITS_PER_WORD))) & 3u) -
                         1);
        }
    }
}

/* The device's kernels take the zero point from each activation. */
static void finish_weighted(ternary_t *t, const tg_weighted_t *layer)
{
    const tg_requant_t *q = &layer->requant;
    const tg_trit_scale_t scale = {q->zero_point, q->act_min, q->act_max, 1};
    set_weighted(t, layer);
    finish(t, layer->in_zero_point, scale, -layer->in_zero_point);
}

bool tg_core_two_bits(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->layer.requant.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->layer.trits, p->layer.bias, &p->window, &fresh);
    if (fresh) {
        unpack_stream(t, p->layer.trits, 0, p->window.out_c);
        finish_weighted(t, &p->layer);
    }
    return convolution(t, &p->window, in, out, accumulators);
}

bool tg_core_two_bits_base3(const tg_ternary_base3_t *p, const int8_t *in, int8_t *out, int32_t *accumulators,
                            void *scratch)
{
    const tg_window_t *w = &p->ternary.window;
    bool fresh;
    if (!worth(w, p->ternary.layer.requant.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->packed, p->ternary.layer.bias, w, &fresh);
    if (fresh) {
        const uint32_t *packed = p->packed;
        for (int32_t c = 0; c < w->out_c; c += p->group) {
            const int32_t channels = tg_min(p->group, w->out_c - c);
            const int32_t words = (((channels * w->in_c) + TG_TRITS_PER_WORD - 1) / TG_TRITS_PER_WORD) + 1;
            packed = decode_base3(packed, words, 2, scratch);
            unpack_stream(t, scratch, c, channels);
        }
        finish_weighted(t, &p->ternary.layer);
    }
    return convolution(t, w, in, out, accumulators);
}

bool tg_core_depthwise_two_bits(const tg_depthwise_ternary_t *p, const int8_t *in, int8_t *out,
                                const int32_t *accumulators)
{
    const tg_window_t *w = &p->window;
    const int32_t taps = w->kernel_h * w->kernel_w;
    const int32_t words = (w->out_c + TG_TRITS_PER_WORD - 1) / TG_TRITS_PER_WORD;
    bool fresh;
    if ((p->layer.requant.narrow == 0) || (twin_inferences() == 0u) || (p->depth_multiplier != 1) ||
        (accumulators != NULL)) {
        return false;
    }
    ternary_t *t = kept_depthwise(p->layer.trits, p->layer.bias, w, &fresh);
    if (fresh) {
        for (int32_t c = 0; c < w->out_c; c++) {
            int8_t *to = row_of(t, c);
            for (int32_t tap = 0; tap < taps; tap++) {
                const uint32_t word = p->layer.trits[(tap * words) + (c / TG_TRITS_PER_WORD)];
                to[tap] = (int8_t)((int32_t)((word >> (2 * (c % TG_TRITS_PER_WORD))) & 3u) - 1);
            }
        }
        finish_weighted(t, &p->layer);
    }
    return depthwise(t, w, in, out);
}

/* --- trits of lanes ------------------------------------------------------------------------------------------------ */

/* Blocks of 64 positions, then words of 16 (tg_trit_lanes.h). Returns the byte after a channel. */
static const uint8_t *unpack_lanes(const uint8_t *trits, int32_t positions, int8_t *to)
{
    for (int32_t first = 0; first < positions;) {
        const int32_t bytes = ((positions - first) < 64) ? 4 : 16;
        for (int32_t i = 0; i < (4 * bytes); i++) {
            const uint32_t code = (uint32_t)trits[i % bytes] >> (2 * (i / bytes));
            to[first + i] = (int8_t)((int32_t)((code & 3u) ^ 2u) - 2);
        }
        trits += bytes;
        first += 4 * bytes;
    }
    return trits;
}

bool tg_core_trits(const tg_conv2d_trits_t *p, const int8_t *in, int8_t *out)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->trits, p->channels, &p->window, &fresh);
    if (fresh) {
        const uint8_t *trits = p->trits;
        for (int32_t c = 0; c < p->window.out_c; c++) {
            trits = unpack_lanes(trits, t->positions, row_of(t, c));
        }
        set_channels(t, p->channels, p->window.out_c);
        finish(t, p->in_zero_point, p->scale, 0);
    }
    return convolution(t, &p->window, in, out, NULL);
}

/* --- lists of steps ------------------------------------------------------------------------------------------------ */

/* What the steps of a channel reach: how often each place of the planes is added, less how often it is subtracted. Places
 * are counted in units. */
typedef struct {
    int16_t *of;
    int32_t count;
    int32_t *reads; /* the place of each position of the window */
} places_t;

/* Planes of `elements` each; a unit crosses so many. */
static bool find_places(const tg_window_t *w, int32_t pitch, int32_t elements, int32_t unit, places_t *places)
{
    const int32_t phases = w->stride_h * w->stride_w;
    int32_t *read = places->reads;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const int32_t y = ky * w->dilation_h;
            const int32_t x = kx * w->dilation_w;
            const int32_t phase = ((y % w->stride_h) * w->stride_w) + (x % w->stride_w);
            const int32_t offset = ((y / w->stride_h) * pitch) + (x / w->stride_w);
            for (int32_t c = 0; c < w->in_c; c++) {
                const int32_t at = (((c * phases) + phase) * elements) + offset;
                if ((at % unit) != 0) {
                    return false;
                }
                *read++ = at / unit;
            }
        }
    }
    return true;
}

/* Count a list's steps. Returns false where they lead out of the planes. */
static bool count_steps(const places_t *places, const uint8_t *steps, int32_t count, int16_t sign)
{
    int32_t at = 0;
    for (int32_t i = 0; i < count; i++) {
        at += steps[i];
        if (at >= places->count) {
            return false;
        }
        places->of[at] = (int16_t)(places->of[at] + sign);
    }
    return true;
}

/* Turn what was counted into a row of weights, and forget it. Returns false where a place counts that is none of the
 * window's, or where there are more than `most`; stops between steps cancel each other. */
static bool take_places(const places_t *places, int32_t positions, int8_t *row, int32_t most)
{
    int32_t all = 0;
    for (int32_t k = 0; k < positions; k++) {
        int16_t *net = places->of + places->reads[k];
        if ((*net < INT8_MIN) || (*net > INT8_MAX)) {
            return false;
        }
        row[k] = (int8_t)*net;
        all += abs(*net);
        *net = 0;
    }
    for (int32_t i = 0; i < places->count; i++) {
        if (places->of[i] != 0) {
            return false;
        }
    }
    return all <= most;
}

/* A channel's runs, or the one that has no number in front. Returns the byte after them, or NULL. */
static const uint8_t *count_list(const places_t *places, const uint8_t *list, bool counted)
{
    for (int32_t runs = counted ? *list++ : 1; runs > 0; runs--) {
        const int32_t minus = list[0];
        const int32_t plus = list[1];
        list += 2;
        if ((counted && (tg_max(minus, plus) > STEPS_OF_A_RUN)) || !count_steps(places, list, minus, -1) ||
            !count_steps(places, list + minus, plus, 1)) {
            return NULL;
        }
        list += minus + plus;
    }
    return list;
}

/* planes: as in find_places. */
static bool unpack_lists(ternary_t *t, const tg_window_t *w, const uint8_t *list, bool counted, int32_t pitch,
                         int32_t elements, int32_t unit)
{
    const int32_t all = w->in_c * w->stride_h * w->stride_w * elements;
    places_t places = {.count = (all / unit) + 1};
    places.reads = malloc((size_t)t->positions * sizeof *places.reads);
    places.of = calloc((size_t)places.count, sizeof *places.of);
    bool fits =
        (places.reads != NULL) && (places.of != NULL) && find_places(w, pitch, elements, unit, &places);
    for (int32_t c = 0; (c < w->out_c) && fits; c++) {
        list = count_list(&places, list, counted);
        fits = (list != NULL) &&
               take_places(&places, t->positions, row_of(t, c), counted ? t->positions * INT8_MAX : NONZEROS);
    }
    free(places.of);
    free(places.reads);
    return fits;
}

bool tg_core_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->lists, p->channels, &p->window, &fresh);
    if (fresh) {
        set_channels(t, p->channels, p->window.out_c);
        t->usable = unpack_lists(t, &p->window, p->lists, false, p->pitch, p->plane_bytes, p->unit_bytes);
        if (t->usable) {
            finish(t, p->in_zero_point, p->scale, 0);
        }
    }
    return convolution(t, &p->window, in, out, accumulators);
}

/* Here activations have 128 added, for which the bias makes up. */
bool tg_core_lists(const tg_conv2d_lists_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow)) {
        return false;
    }
    ternary_t *t = kept_convolution(p->lists, p->channels, &p->window, &fresh);
    if (fresh) {
        set_channels(t, p->channels, p->window.out_c);
        t->usable = unpack_lists(t, &p->window, p->lists, true, p->pitch, p->plane_words, p->unit_bytes / 4);
        if (t->usable) {
            finish(t, p->in_zero_point, p->scale, 128);
        }
    }
    return convolution(t, &p->window, in, out, accumulators);
}

/* --- depthwise taps ------------------------------------------------------------------------------------------------ */

bool tg_core_taps(const tg_depthwise_taps_t *p, const int8_t *in, int8_t *out, const int32_t *accumulators)
{
    const tg_window_t *w = &p->window;
    bool fresh;
    if ((p->scale.narrow == 0) || (twin_inferences() == 0u) || (p->depth_multiplier != 1) ||
        (accumulators != NULL)) {
        return false;
    }
    ternary_t *t = kept_depthwise(p->trits, p->channels, w, &fresh);
    if (fresh) {
        static const int8_t trit[4] = {-1, 0, 1, 0};
        for (int32_t c = 0; c < w->out_c; c++) {
            const uint8_t *from = p->trits + ((ptrdiff_t)c * ((p->taps + 3) / 4));
            int8_t *to = row_of(t, c);
            for (int32_t tap = 0; tap < p->taps; tap++) {
                to[tap] = trit[(from[tap / 4] >> (2 * (tap % 4))) & 3];
            }
        }
        set_channels(t, p->channels, w->out_c);
        finish(t, p->in_zero_point, p->scale, 0);
    }
    return depthwise(t, w, in, out);
}
#endif
