/* The requests of docs/serial-protocol.md and their answers. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "config.h"
#include "profile.h"
#include "protocol.h"

#define COMMANDS_MAX(a, b) (((a) > (b)) ? (a) : (b))

#define ECHO_BYTES_MAX 256u
#define PART_BYTES_MAX 128u
#define INFER_ANSWER_BYTES (8u + (4u * CONFIG_LOGIT_COUNT) + CONFIG_OUTPUT_BYTES)
#ifdef TG_PROFILE
#define PROFILE_ANSWER_BYTES (8u * PROFILE_ENTRIES)
#else
#define PROFILE_ANSWER_BYTES 0u
#endif
#define REQUEST_PAYLOAD_MAX COMMANDS_MAX(CONFIG_INPUT_BYTES, ECHO_BYTES_MAX)
#define ANSWER_PAYLOAD_MAX                                                                                   \
    COMMANDS_MAX(COMMANDS_MAX(INFER_ANSWER_BYTES, PROFILE_ANSWER_BYTES), ECHO_BYTES_MAX)
#define REQUEST_PACKET_MAX (FRAME_OVERHEAD_BYTES + REQUEST_PAYLOAD_MAX)

typedef struct answer {
    uint8_t *payload; /* has room for ANSWER_PAYLOAD_MAX bytes */
    size_t payload_bytes;
    frame_header_t header;
    bool due; /* false: there is nothing to send */
    /* Does what is left to do once the answer is sent, and makes an answer of its own; NULL if nothing is left. */
    void (*next)(struct answer *answer);
} answer_t;

/* Answer a frame that arrived whole. */
void commands_answer(const frame_t *request, answer_t *answer);

/* Answer a block of bytes that is not a frame. */
void commands_answer_broken(answer_t *answer);

/* Forget the input that is being put together: something else was written to engine_room. */
void commands_forget_input(void);

#endif
