/* What runs the model: one of the files engine_*. Its sizes are those of the generated config.h. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ASCII, at most 31 characters. */
const char *engine_name(void);

/* 32 bytes: SHA-256 of the golden model. */
const uint8_t *engine_model_sha256(void);

/* Bytes of activations, part of the static memory. */
uint32_t engine_arena_bytes(void);

/* Call once, before engine_run. */
void engine_start(void);

/* int8[CONFIG_INPUT_BYTES] -> int8[CONFIG_OUTPUT_BYTES], int32[CONFIG_LOGIT_COUNT]. `input` is aligned to 4.
 * Returns 0, or the engine's own number of what kept it from running. */
uint32_t engine_run(const int8_t *input, int8_t *output, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
