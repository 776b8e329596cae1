#include "twin.h"

#include "tg_model.h"

#include <stdlib.h>

#define CACHE_LINE 64u

static _Thread_local void *scratch;
static _Thread_local size_t scratch_bytes;

static void release(void)
{
    free(scratch);
    scratch = NULL;
    scratch_bytes = 0;
}

void *twin_scratch(size_t bytes)
{
    if (bytes > scratch_bytes) {
        release();
        scratch_bytes = (bytes + CACHE_LINE - 1u) / CACHE_LINE * CACHE_LINE;
        scratch = aligned_alloc(CACHE_LINE, scratch_bytes);
        if (scratch == NULL) {
            abort();
        }
    }
    return scratch;
}

#ifdef TG_INPUT_COUNT
/* Several inputs or outputs are stored one after another here. */
static void run_one(const int8_t *input, int8_t *output, int32_t *logits)
{
    static const size_t in_sizes[] = TG_INPUT_SIZES;
    static const size_t out_sizes[] = TG_OUTPUT_SIZES;
    const int8_t *in[TG_INPUT_COUNT];
    int8_t *out[TG_OUTPUT_COUNT];
    for (size_t i = 0; i < TG_INPUT_COUNT; i++) {
        in[i] = input;
        input += in_sizes[i];
    }
    for (size_t i = 0; i < TG_OUTPUT_COUNT; i++) {
        out[i] = output;
        output += out_sizes[i];
    }
#if TG_INPUT_COUNT > 1 && TG_OUTPUT_COUNT > 1
    tg_model_run(in, out, logits);
#elif TG_INPUT_COUNT > 1
    tg_model_run(in, out[0], logits);
#else
    tg_model_run(in[0], out, logits);
#endif
}
#else
#define run_one tg_model_run
#endif

/* Run count inferences, one after the other; logits may be NULL. */
void twin_run(size_t count, const int8_t *input, int8_t *output, int32_t *logits)
{
    for (size_t i = 0; i < count; i++) {
        run_one(input + (i * TG_INPUT_BYTES), output + (i * TG_OUTPUT_BYTES),
                (logits == NULL) ? NULL : (logits + (i * TG_LOGIT_COUNT)));
    }
    release();
}
