/* What runs the model. Its sizes are the TG_* constants of the generated tg_model.h. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>

/* ASCII, at most 31 characters. */
const char *engine_name(void);

/* 32 bytes: SHA-256 of the golden model. */
const uint8_t *engine_model_sha256(void);

/* Bytes of activations, part of the static memory. */
uint32_t engine_arena_bytes(void);

/* int8[TG_INPUT_BYTES] -> int8[TG_OUTPUT_BYTES], int32[TG_LOGIT_COUNT]. `input` is aligned to 4. */
void engine_run(const int8_t *input, int8_t *output, int32_t *logits);

#endif
