/* Configures the model's C when it is compiled as the twin; it is included ahead of every file. */
#ifndef TWIN_H
#define TWIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every thread runs its own inference. */
#define TG_ARENA_STORAGE _Thread_local

/* Tiles are wide enough for vector registers, and arithmetic uses vectors where the processor has them. */
#define TG_TILE 32
#define TG_LANES 32
#define TG_CORE_HEADER "tg_core_host.h"
#define TG_DUAL_HEADER "tg_dual_host.h"
#define TG_TAPS_HEADER "tg_taps_host.h"

/* The scratch is planned for a device's tiles; here at most TG_TILE times as much is needed. */
void *twin_scratch(size_t bytes);
#define TG_SCRATCH(offset, bytes) twin_scratch((size_t)(bytes)*TG_TILE)

/* Memory that stays until twin_end or, where weights are fixed, as long as the thread. It is known by a layer's arrays; *fresh
 * says whether it is new, and so not yet written. */
typedef struct {
    const void *of[3];
} twin_key_t;
void *twin_kept(twin_key_t key, size_t bytes, bool *fresh);

/* How many inferences the present twin_run has, 0 if they are in the device's order: layers that copy their input first are
 * not for those. */
size_t twin_inferences(void);

/* Whether weights that a layer packs now are used in so many inferences: in those of twin_run, or of all to come where nobody
 * changes them. Never in the device's order. */
bool twin_worth(size_t inferences);

/* What one inference takes: bytes of all its inputs, bytes of all its outputs, and accumulators; whether layers read and
 * write in the device's order, which shows where an output lies wrongly over an input; and whether nobody changes weights. */
typedef struct {
    size_t input, output, logits, in_order, fixed;
} twin_sizes_t;

/* Before and after the inferences of twin_run: give back memory of this thread. */
void twin_begin(const twin_sizes_t *sizes, size_t inferences);
void twin_end(const twin_sizes_t *sizes);

/* Run count streams of so many frames, one after the other; logits may be NULL. A model without state has one frame. */
void twin_run(size_t count, size_t frames, const twin_sizes_t *sizes, const int8_t *input, int8_t *output,
              int32_t *logits);

/* The model's own, if it keeps state; otherwise it does nothing. */
void tg_model_reset(void);

#endif
