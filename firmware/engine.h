/* The interface of the engine that runs the model, which is one of the files engine_*. Sizes come from the
 * generated config.h. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The engine's name: ASCII, at most 31 characters. */
const char *engine_name(void);

/* The SHA-256 of the golden model, 32 bytes. */
const uint8_t *engine_model_sha256(void);

/* Bytes of the arena, which is part of the static memory. */
uint32_t engine_arena_bytes(void);

/* Prepare the engine. Call it once, before engine_run. */
void engine_start(void);

/* Begin a stream: set what a model keeps between inferences to its initial values. */
void engine_reset(void);

/* Run the model: int8[CONFIG_INPUT_BYTES] -> int8[CONFIG_OUTPUT_BYTES], int32[CONFIG_LOGIT_COUNT]. `input` is
 * aligned to 4 bytes. Returns 0, or the engine's own error code if the model did not run. */
uint32_t engine_run(const int8_t *input, int8_t *output, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
