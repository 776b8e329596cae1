#include "commands.h"

#include "build_id.h"
#include "config.h"
#include "engine.h"
#include "port/port.h"

#include <string.h>

enum { HELLO = 0x01, INFER = 0x02, MEMORY = 0x03, ECHO = 0x04, PROFILE = 0x05, ANSWER = 0x80, ERROR = 0xFF };
enum { BROKEN_FRAME = 1, BAD_VERSION = 2, UNKNOWN_TYPE = 3, BAD_LENGTH = 4, ENGINE_FAILED = 5 };

#define NAME_BYTES_MAX 31u

static answer_t answer(const frame_t *request, size_t payload_bytes)
{
    return (answer_t){(uint8_t)(request->type | (uint8_t)ANSWER), request->sequence, payload_bytes};
}

static answer_t error(const frame_t *request, uint8_t code, uint32_t detail, uint8_t *payload)
{
    payload[0] = code;
    payload[1] = request->type;
    payload[2] = 0u;
    payload[3] = 0u;
    put_u32(payload + 4, detail);
    return (answer_t){ERROR, request->sequence, 8u};
}

/* Write the length, then the characters; returns the place behind them. */
static uint8_t *put_name(uint8_t *to, const char *name)
{
    const size_t whole = strlen(name);
    const size_t length = (whole < NAME_BYTES_MAX) ? whole : NAME_BYTES_MAX;
    to[0] = (uint8_t)length;
    (void)memcpy(to + 1, name, length);
    return to + 1 + length;
}

static answer_t hello(const frame_t *request, uint8_t *payload)
{
    const port_fault_t fault = port_last_fault();
    const uint32_t numbers[] = {
        CONFIG_INPUT_BYTES, CONFIG_OUTPUT_BYTES, CONFIG_LOGIT_COUNT, REQUEST_PAYLOAD_MAX, port_clock_hz(),
        fault.count,        fault.cause,         fault.pc,           fault.status,        fault.address,
    };
    uint8_t *to = payload;
    (void)memcpy(to, build_id, sizeof build_id);
    to += sizeof build_id;
    (void)memcpy(to, engine_model_sha256(), 32u);
    to += 32;
    for (size_t i = 0u; i < (sizeof numbers / sizeof numbers[0]); i++) {
        put_u32(to, numbers[i]);
        to += 4;
    }
    to = put_name(to, CONFIG_BOARD_ID);
    to = put_name(to, engine_name());
    return answer(request, (size_t)(to - payload));
}

static void put_logits(uint8_t *to, const int32_t *logits, size_t count)
{
    for (size_t i = 0u; i < count; i++) {
        put_u32(to + (4u * i), (uint32_t)logits[i]);
    }
}

/* At least one element: an engine without logits has CONFIG_LOGIT_COUNT 0, and C has no empty arrays. */
static int32_t logits[COMMANDS_MAX(CONFIG_LOGIT_COUNT, 1u)];

static answer_t infer(const frame_t *request, uint8_t *payload)
{
    uint8_t *const logits_out = payload + 8;
    int8_t *const output = (int8_t *)(logits_out + (4u * CONFIG_LOGIT_COUNT));

    port_ticks_start();
    const uint32_t failure = engine_run((const int8_t *)request->payload, output, logits);
    const uint64_t ticks = port_ticks_stop();
    if (failure != 0u) {
        return error(request, ENGINE_FAILED, failure, payload);
    }
    put_u64(payload, ticks);
    put_logits(logits_out, logits, CONFIG_LOGIT_COUNT);
    return answer(request, INFER_ANSWER_BYTES);
}

#ifdef TG_PROFILE
static answer_t profile(const frame_t *request, uint8_t *payload)
{
    static int8_t output[CONFIG_OUTPUT_BYTES];

    profile_start();
    const uint32_t failure = engine_run((const int8_t *)request->payload, output, logits);
    const uint64_t *const ticks = profile_stop();
    if (failure != 0u) {
        return error(request, ENGINE_FAILED, failure, payload);
    }
    for (size_t i = 0u; i < PROFILE_ENTRIES; i++) {
        put_u64(payload + (8u * i), ticks[i]);
    }
    return answer(request, PROFILE_ANSWER_BYTES);
}
#endif

static answer_t memory(const frame_t *request, uint8_t *payload)
{
    const port_memory_t in_use = port_memory();
    put_u32(payload, engine_arena_bytes());
    put_u32(payload + 4, in_use.static_bytes);
    put_u32(payload + 8, in_use.stack_bytes);
    put_u32(payload + 12, in_use.stack_peak_bytes);
    return answer(request, 16u);
}

static answer_t echo(const frame_t *request, uint8_t *payload)
{
    (void)memcpy(payload, request->payload, request->payload_bytes);
    return answer(request, request->payload_bytes);
}

answer_t commands_answer(const frame_t *request, uint8_t *payload)
{
    if (request->version != PROTOCOL_VERSION) {
        return error(request, BAD_VERSION, PROTOCOL_VERSION, payload);
    }
    switch (request->type) {
    case HELLO:
        return (request->payload_bytes == 0u) ? hello(request, payload)
                                              : error(request, BAD_LENGTH, 0u, payload);
    case INFER:
        return (request->payload_bytes == CONFIG_INPUT_BYTES)
                   ? infer(request, payload)
                   : error(request, BAD_LENGTH, CONFIG_INPUT_BYTES, payload);
    case MEMORY:
        return (request->payload_bytes == 0u) ? memory(request, payload)
                                              : error(request, BAD_LENGTH, 0u, payload);
    case ECHO:
        return (request->payload_bytes <= ECHO_BYTES_MAX)
                   ? echo(request, payload)
                   : error(request, BAD_LENGTH, ECHO_BYTES_MAX, payload);
#ifdef TG_PROFILE
    case PROFILE:
        return (request->payload_bytes == CONFIG_INPUT_BYTES)
                   ? profile(request, payload)
                   : error(request, BAD_LENGTH, CONFIG_INPUT_BYTES, payload);
#endif
    default:
        return error(request, UNKNOWN_TYPE, 0u, payload);
    }
}

answer_t commands_answer_broken(uint8_t *payload)
{
    const frame_t unknown = {0};
    return error(&unknown, BROKEN_FRAME, 0u, payload);
}
