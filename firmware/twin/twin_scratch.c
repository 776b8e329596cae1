#include "twin.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64u

/* What is kept follows this. */
typedef struct kept {
    struct kept *next;
    twin_key_t key;
    size_t bytes;
} kept_t;

static _Thread_local void *scratch;
static _Thread_local size_t scratch_bytes;
static _Thread_local kept_t *kept;
static _Thread_local size_t inferences;

static void *aligned(size_t bytes)
{
    void *memory = aligned_alloc(CACHE_LINE, (bytes + CACHE_LINE - 1u) / CACHE_LINE * CACHE_LINE);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static void release_scratch(void)
{
    free(scratch);
    scratch = NULL;
    scratch_bytes = 0;
}

void twin_release(size_t following)
{
    release_scratch();
    while (kept != NULL) {
        kept_t *next = kept->next;
        free(kept);
        kept = next;
    }
    inferences = following;
}

size_t twin_inferences(void)
{
    return inferences;
}

void *twin_scratch(size_t bytes)
{
    if (bytes > scratch_bytes) {
        release_scratch();
        scratch = aligned(bytes);
        scratch_bytes = bytes;
    }
    return scratch;
}

void *twin_kept(twin_key_t key, size_t bytes, bool *fresh)
{
    for (kept_t *found = kept; found != NULL; found = found->next) {
        if ((memcmp(&found->key, &key, sizeof key) == 0) && (found->bytes == bytes)) {
            *fresh = false;
            return (char *)found + CACHE_LINE;
        }
    }
    kept_t *made = aligned(CACHE_LINE + bytes);
    made->next = kept;
    made->key = key;
    made->bytes = bytes;
    kept = made;
    *fresh = true;
    return (char *)made + CACHE_LINE;
}

/* The C of a model with state has this function, which then takes the place of this one. */
__attribute__((weak)) void tg_model_reset(void)
{
}
