/* The interface of the engine that runs the model, which is one of the files engine_*. Sizes come from the
 * generated config.h. */
#ifndef ENGINE_H
#define ENGINE_H

#include "protocol.h"

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

/* Where requests are received: at least REQUEST_PACKET_MAX bytes, aligned to 4. An engine that has its input in its own
 * memory puts this around it, so that a request's payload lies where the input has to be. The room is the engine's while
 * it runs, and nobody's afterwards; until the next run it keeps what is written there. The bulk line of
 * docs/serial-protocol.md finds it by its name. */
extern const frame_room_t engine_room;

/* Run the model: the bytes of its input (CONFIG_INPUT_BYTES) and of its output (CONFIG_OUTPUT_BYTES), which are int8 or
 * int16, and int32[CONFIG_LOGIT_COUNT]. `input` and `output` are aligned to 4 bytes; `input` may be overwritten if it is
 * the payload of a packet in engine_room. Returns 0, or the engine's own error code if the model did not run. */
uint32_t engine_run(const int8_t *input, int8_t *output, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
