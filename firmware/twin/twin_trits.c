/* Ternary convolutions of tg_host_layers.h: every format is unpacked here. */
#include "tg_host_trits.h"

#ifdef TG_CORE_HAS_CONVOLUTION

#define WORD_POSITIONS 8   /* of a dual-channel word (tg_dual.h) */
#define DIGITS 81          /* values of four digits of base 3 (tg_base3.h) */
#define VECTORS_WORTH 4    /* inferences for which weights that meet one vector are unpacked, and */
#define WORDS_WORTH 64     /* where the device's kernel is nearly as fast */
#define LOW_NONZEROS 63    /* in a block of a low channel, and */
#define HIGH_NONZEROS 1023 /* in a segment of a high one (tg_dual.h) */
#define STEPS_OF_A_RUN 128 /* of one sign (tg_lists.h) */

typedef int8_t bytes_t __attribute__((vector_size(TG_VECTOR)));

/* A convolution's rows end in whole blocks of any format. */
static tg_ternary_t *kept_convolution(const void *packed, const void *channels, const tg_window_t *w,
                                      bool *fresh)
{
    const int32_t positions = w->kernel_h * w->kernel_w * w->in_c;
    return tg_ternary_layer(packed, channels, w, positions, (positions + 63) & ~63, fresh);
}

static int32_t nonzeros(const int8_t *trits, int32_t count)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += abs(trits[i]);
    }
    return sum;
}

static bool convolution(const tg_ternary_t *t, const tg_window_t *w, const int8_t *in, int8_t *out,
                        int32_t *accumulators)
{
    return t->usable && tg_core_convolution_rows(w, &t->layer, t->row, in, out, accumulators);
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
static void unpack_pair(tg_ternary_t *t, const tg_dual_t *p, const uint32_t *trits, int32_t step, int32_t low,
                        int32_t high)
{
    const tg_words_t of_low = {0, 4, 16, 20, 8, 12, 24, 28}; /* where the codes of eight positions are */
    const tg_words_t of_high = {14, 18, 30, 2, 22, 26, 6, 10};
    int8_t *lows = tg_ternary_row(t, low);
    int8_t *highs = tg_ternary_row(t, high);
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

static void unpack_pairs(tg_ternary_t *t, const tg_dual_t *p, int32_t together)
{
    for (int32_t pair = 0; pair < p->pairs; pair++) {
        const int32_t first = (pair / together) * together;
        const tg_trit_channel_t *low = p->lanes + first + pair;
        unpack_pair(t, p, p->trits + ((ptrdiff_t)first * p->words) + (pair - first), together, low->channel,
                    low[together].channel);
        tg_ternary_channel(t, low);
        tg_ternary_channel(t, low + together);
    }
}

bool tg_core_dual(const tg_dual_t *p, int32_t together, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow) || !twin_worth((together > 1) ? WORDS_WORTH : 1)) {
        return false;
    }
    tg_ternary_t *t = kept_convolution(p->trits, p->lanes, &p->window, &fresh);
    if (fresh) {
        unpack_pairs(t, p, together);
        tg_ternary_finish(t, p->in_zero_point, p->scale, 0);
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
    tg_ternary_t *t = kept_convolution(p->packed, p->dual.lanes, w, &fresh);
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
        tg_ternary_finish(t, p->dual.in_zero_point, p->dual.scale, 0);
    }
    return convolution(t, w, in, out, accumulators);
}

/* --- two bits a trit ----------------------------------------------------------------------------------------------- */

/* Trits of several channels, one after the other. */
static void unpack_stream(tg_ternary_t *t, const uint32_t *trits, int32_t first, int32_t channels)
{
    for (int32_t c = 0; c < channels; c++) {
        int8_t *to = tg_ternary_row(t, first + c);
        const int32_t start = c * t->positions;
        for (int32_t k = 0; k < t->positions; k++) {
            const uint32_t at = (uint32_t)(start + k);
            to[k] =
                (int8_t)((int32_t)((trits[at / TG_TRITS_PER_WORD] >> (2u * (at % TG_TRITS_PER_WORD))) & 3u) -
                         1);
        }
    }
}

bool tg_core_two_bits(const tg_conv2d_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->layer.requant.narrow)) {
        return false;
    }
    tg_ternary_t *t = kept_convolution(p->layer.trits, p->layer.bias, &p->window, &fresh);
    if (fresh) {
        unpack_stream(t, p->layer.trits, 0, p->window.out_c);
        tg_ternary_finish_weighted(t, &p->layer, -p->layer.in_zero_point);
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
    tg_ternary_t *t = kept_convolution(p->packed, p->ternary.layer.bias, w, &fresh);
    if (fresh) {
        const uint32_t *packed = p->packed;
        for (int32_t c = 0; c < w->out_c; c += p->group) {
            const int32_t channels = tg_min(p->group, w->out_c - c);
            const int32_t words = (((channels * w->in_c) + TG_TRITS_PER_WORD - 1) / TG_TRITS_PER_WORD) + 1;
            packed = decode_base3(packed, words, 2, scratch);
            unpack_stream(t, scratch, c, channels);
        }
        tg_ternary_finish_weighted(t, &p->ternary.layer, -p->ternary.layer.in_zero_point);
    }
    return convolution(t, w, in, out, accumulators);
}

/* --- indices of tables of four trits ---------------------------------------------------------------------------------- */

/* Digits of base 3. Returns false for a number that has more than four. */
static bool unpack_four(uint32_t code, int8_t *to)
{
    for (int32_t i = 0; i < 4; i++) {
        to[i] = (int8_t)((int32_t)(code % 3u) - 1);
        code /= 3u;
    }
    return code == 0u;
}

bool tg_core_fours(const tg_dense_fours_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    const tg_window_t w = tg_dense_window(p->depth, p->units);
    bool fresh;
    if (!worth(&w, p->layer.requant.narrow)) {
        return false;
    }
    tg_ternary_t *t = kept_convolution(p->codes, p->layer.bias, &w, &fresh);
    if (fresh) {
        const uint8_t *codes = p->codes;
        for (int32_t first = 0; first < p->units; first += p->piece) {
            const int32_t units = tg_min(p->piece, p->units - first);
            for (int32_t k = 0; k < p->depth; k += 4) {
                for (int32_t i = 0; i < units; i++) {
                    t->usable = unpack_four(codes[i], tg_ternary_row(t, first + i) + k) && t->usable;
                }
                codes += (units + 3) & ~3;
            }
        }
        tg_ternary_finish_weighted(t, &p->layer, 0);
    }
    return convolution(t, &w, in, out, accumulators);
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
    tg_ternary_t *t = kept_convolution(p->trits, p->channels, &p->window, &fresh);
    if (fresh) {
        const uint8_t *trits = p->trits;
        for (int32_t c = 0; c < p->window.out_c; c++) {
            trits = unpack_lanes(trits, t->positions, tg_ternary_row(t, c));
        }
        tg_ternary_channels(t, p->channels, p->window.out_c);
        tg_ternary_finish(t, p->in_zero_point, p->scale, 0);
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
static bool read_lists(tg_ternary_t *t, const tg_window_t *w, const uint8_t *list, bool counted,
                       int32_t pitch, int32_t elements, int32_t unit)
{
    const int32_t all = w->in_c * w->stride_h * w->stride_w * elements;
    places_t places = {.count = (all / unit) + 1};
    places.reads = malloc((size_t)t->positions * sizeof *places.reads);
    places.of = calloc((size_t)places.count, sizeof *places.of);
    bool fits =
        (places.reads != NULL) && (places.of != NULL) && find_places(w, pitch, elements, unit, &places);
    for (int32_t c = 0; (c < w->out_c) && fits; c++) {
        list = count_list(&places, list, counted);
        fits = (list != NULL) && take_places(&places, t->positions, tg_ternary_row(t, c),
                                             counted ? t->positions * INT8_MAX : TG_NONZEROS);
    }
    free(places.of);
    free(places.reads);
    return fits;
}

/* The layer of all lists; `of_sum` as in tg_ternary_finish. */
static void unpack_lists(tg_ternary_t *t, const tg_trit_channel_t *channels, int32_t in_zero_point,
                         tg_trit_scale_t scale, int32_t of_sum, bool read)
{
    tg_ternary_channels(t, channels, t->channels);
    t->usable = read;
    if (read) {
        tg_ternary_finish(t, in_zero_point, scale, of_sum);
    }
}

bool tg_core_steps(const tg_conv2d_steps_t *p, const int8_t *in, int8_t *out, int32_t *accumulators)
{
    bool fresh;
    if (!worth(&p->window, p->scale.narrow)) {
        return false;
    }
    tg_ternary_t *t = kept_convolution(p->lists, p->channels, &p->window, &fresh);
    if (fresh) {
        const bool read = read_lists(t, &p->window, p->lists, false, p->pitch, p->plane_bytes, p->unit_bytes);
        unpack_lists(t, p->channels, p->in_zero_point, p->scale, 0, read);
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
    tg_ternary_t *t = kept_convolution(p->lists, p->channels, &p->window, &fresh);
    if (fresh) {
        const bool read =
            read_lists(t, &p->window, p->lists, true, p->pitch, p->plane_words, p->unit_bytes / 4);
        unpack_lists(t, p->channels, p->in_zero_point, p->scale, 128, read);
    }
    return convolution(t, &p->window, in, out, accumulators);
}

#endif
