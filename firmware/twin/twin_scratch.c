#include "twin.h"

#include <pthread.h>
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
static pthread_key_t at_exit; /* the same list, freed when the thread ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local size_t inferences;
static _Thread_local bool fixed;

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

static void free_list(void *list)
{
    while (list != NULL) {
        kept_t *next = ((kept_t *)list)->next;
        free(list);
        list = next;
    }
}

static void make_key(void)
{
    if (pthread_key_create(&at_exit, free_list) != 0) {
        abort();
    }
}

static void keep(kept_t *list)
{
    (void)pthread_once(&once, make_key);
    if (pthread_setspecific(at_exit, list) != 0) {
        abort();
    }
    kept = list;
}

static void release(const twin_sizes_t *sizes)
{
    release_scratch();
    if ((kept != NULL) && (sizes->fixed == 0u)) {
        free_list(kept);
        keep(NULL);
    }
}

void twin_begin(const twin_sizes_t *sizes, size_t following)
{
    release(sizes);
    inferences = (sizes->in_order != 0u) ? 0u : following;
    fixed = (sizes->fixed != 0u);
}

void twin_end(const twin_sizes_t *sizes)
{
    release(sizes);
    inferences = 0;
}

size_t twin_inferences(void)
{
    return inferences;
}

bool twin_worth(size_t least)
{
    return (inferences > 0u) && (fixed || (inferences >= least));
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
    keep(made);
    *fresh = true;
    return (char *)made + CACHE_LINE;
}

/* The C of a model with state has this function, which then takes the place of this one. */
__attribute__((weak)) void tg_model_reset(void)
{
}
