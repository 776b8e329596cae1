/* The requests of docs/serial-protocol.md and their answers. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "config.h"
#include "profile.h"
#include "protocol.h"

#define COMMANDS_MAX(a, b) (((a) > (b)) ? (a) : (b))

#define ECHO_BYTES_MAX 256u
#define INFER_ANSWER_BYTES (8u + (4u * CONFIG_LOGIT_COUNT) + CONFIG_OUTPUT_BYTES)
#ifdef TG_PROFILE
#define PROFILE_ANSWER_BYTES (8u * PROFILE_ENTRIES)
#else
#define PROFILE_ANSWER_BYTES 0u
#endif
#define REQUEST_PAYLOAD_MAX COMMANDS_MAX(CONFIG_INPUT_BYTES, ECHO_BYTES_MAX)
#define ANSWER_PAYLOAD_MAX                                                                                   \
    COMMANDS_MAX(COMMANDS_MAX(INFER_ANSWER_BYTES, PROFILE_ANSWER_BYTES), ECHO_BYTES_MAX)

typedef struct {
    uint8_t type;
    uint32_t sequence;
    size_t payload_bytes;
} answer_t;

/* Answer a frame that arrived whole; `payload` has room for ANSWER_PAYLOAD_MAX bytes. */
answer_t commands_answer(const frame_t *request, uint8_t *payload);

/* Answer a block of bytes that is not a frame. */
answer_t commands_answer_broken(uint8_t *payload);

#endif
