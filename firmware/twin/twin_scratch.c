#include "twin.h"

#include <stdlib.h>

#define CACHE_LINE 64u

static _Thread_local void *scratch;
static _Thread_local size_t scratch_bytes;

void twin_release(void)
{
    free(scratch);
    scratch = NULL;
    scratch_bytes = 0;
}

void *twin_scratch(size_t bytes)
{
    if (bytes > scratch_bytes) {
        twin_release();
        scratch_bytes = (bytes + CACHE_LINE - 1u) / CACHE_LINE * CACHE_LINE;
        scratch = aligned_alloc(CACHE_LINE, scratch_bytes);
        if (scratch == NULL) {
            abort();
        }
    }
    return scratch;
}
