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

/* count inferences, one after the other; logits may be NULL. */
void twin_run(size_t count, const int8_t *input, int8_t *output, int32_t *logits)
{
    for (size_t i = 0; i < count; i++) {
        tg_model_run(input + (i * TG_INPUT_BYTES), output + (i * TG_OUTPUT_BYTES),
                     (logits == NULL) ? NULL : (logits + (i * TG_LOGIT_COUNT)));
    }
    release();
}
