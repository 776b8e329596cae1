#include "commands.h"

#include "build_id.h"
#include "config.h"
#include "engine.h"
#include "port/port.h"

#include <stddef.h>
#include <string.h>

enum {
    HELLO = 0x01,
    INFER = 0x02,
    MEMORY = 0x03,
    ECHO = 0x04,
    PROFILE = 0x05,
    PART = 0x06,
    RUN = 0x07,
    RATE = 0x08,
    RESET = 0x09,
    ANSWER = 0x80,
    ERROR = 0xFF
};
enum {
    BROKEN_FRAME = 1,
    BAD_VERSION = 2,
    UNKNOWN_TYPE = 3,
    BAD_LENGTH = 4,
    ENGINE_FAILED = 5,
    BAD_PLACE = 6,
    BAD_RATE = 7,
    BAD_ORDER = 8
};

#define PLACE_BYTES 32u
#define PLACES ((CONFIG_INPUT_BYTES + PLACE_BYTES - 1u) / PLACE_BYTES)
#define PLACE_MAP_BYTES ((PLACES + 7u) / 8u)
#define PLACE_MAP_TOLD_MAX 16u
#define LONELY_BLOCKS_MAX 16u

#define NAME_BYTES_MAX 31u

/* The frames of a model with state come whole: they are short, and each tells its number in the stream. */
#ifndef CONFIG_KEEPS_STATE
#define TAKES_PARTS
#endif

static void error(answer_t *answer, uint8_t code, uint32_t detail)
{
    uint8_t *const payload = answer->payload;
    payload[0] = code;
    payload[1] = answer->header.type; /* still that of the request */
    payload[2] = 0u;
    payload[3] = 0u;
    put_u32(payload + 4, detail);
    answer->header.type = ERROR;
    answer->payload_bytes = 8u;
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

/* Write how time is measured and what the last reset came from; returns the place behind it. */
static uint8_t *put_facts(uint8_t *to)
{
    const port_facts_t facts = port_facts();
    to[0] = facts.tick_source;
    to[1] = facts.interrupts;
    to[2] = facts.reset;
    put_u32(to + 3, facts.tick_hz);
    put_u32(to + 7, facts.watchdog_ms);
    return to + 11;
}

static void hello(answer_t *answer)
{
    const port_fault_t fault = port_last_fault();
    const uint32_t numbers[] = {
        CONFIG_INPUT_BYTES, CONFIG_OUTPUT_BYTES, CONFIG_LOGIT_COUNT, REQUEST_PAYLOAD_MAX,
        port_clock_hz(),    fault.count,         fault.cause,        fault.pc,
        fault.status,       fault.address,       port_ring_bytes(),
    };
    uint8_t *to = answer->payload;
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
    to = put_facts(to);
    to = put_name(to, CONFIG_PORT);
    answer->payload_bytes = (size_t)(to - answer->payload);
}

/* The result of an inference, as INFER's answer holds it: these cores are little endian too. */
static struct {
    uint64_t ticks;
#if CONFIG_LOGIT_COUNT > 0
    int32_t logits[CONFIG_LOGIT_COUNT];
#endif
    int8_t output[CONFIG_OUTPUT_BYTES];
} result;
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "results leave as they lie in memory");
_Static_assert(offsetof(__typeof__(result), output) + CONFIG_OUTPUT_BYTES == INFER_ANSWER_BYTES, "no gaps");

#if CONFIG_LOGIT_COUNT > 0
#define LOGITS (result.logits)
#else
static int32_t no_logits[1];
#define LOGITS (no_logits)
#endif

#ifdef TAKES_PARTS
/* The input that is put together from parts, in engine_room, as INFER's would lie. */
static struct {
    bool begun;
    uint32_t sequence; /* of its parts and its RUN */
    uint8_t there[PLACE_MAP_BYTES];
} input;
#else
/* The stream that a model with state is in. */
static struct {
    bool begun;    /* since the core's reset */
    uint16_t next; /* the number of the frame that has to come */
} stream;
#endif

/* The inference whose result is kept. */
static struct {
    bool is_valid;
    uint32_t sequence;
    uint32_t crc; /* of its input */
} kept;

static bool comes_in_parts; /* PART and RUN were the last requests */

void commands_forget_input(void)
{
#ifdef TAKES_PARTS
    input.begun = false;
#endif
}

#ifdef CONFIG_MARK_PIN
#define MARK(on) port_mark(on)
#else
#define MARK(on) ((void)0)
#endif

/* Returns 0, or the engine's error. */
static uint32_t infer(const uint8_t *from)
{
    kept.is_valid = false;
    commands_forget_input(); /* the engine's memory is also that of the parts */
    port_ticks_start();
    MARK(true);
    const uint32_t failure = engine_run((const int8_t *)from, result.output, LOGITS);
    MARK(false);
    result.ticks = port_ticks_stop();
    return failure;
}

static void put_result(answer_t *answer, size_t at, size_t bytes)
{
    (void)memcpy(answer->payload, (const uint8_t *)&result + at, bytes);
    answer->payload_bytes = bytes;
}

#ifdef TAKES_PARTS
static void infer_whole(const frame_t *request, answer_t *answer)
{
    const uint32_t failure = infer(request->payload);
    if (failure != 0u) {
        error(answer, ENGINE_FAILED, failure);
    } else {
        put_result(answer, 0u, INFER_ANSWER_BYTES);
    }
}
#else
static void begin_stream(void)
{
    engine_reset();
    kept.is_valid = false;
    stream.begun = true;
    stream.next = 0u;
}

/* A frame moves the stream on once: if it comes again, its answer was lost, and the kept one is sent. */
static void infer_whole(const frame_t *request, answer_t *answer)
{
    const uint32_t sequence = request->header.sequence;
    if (!kept.is_valid || (sequence != kept.sequence)) {
        if (!stream.begun || (request->header.mark != stream.next)) {
            error(answer, BAD_ORDER, stream.next);
            return;
        }
        const uint32_t failure = infer(request->payload);
        if (failure != 0u) {
            error(answer, ENGINE_FAILED, failure);
            return;
        }
        stream.next++;
        kept.is_valid = true;
        kept.sequence = sequence;
    }
    put_result(answer, 0u, INFER_ANSWER_BYTES);
}
#endif

#ifdef TAKES_PARTS
static void begin_input(uint32_t sequence)
{
    input.sequence = sequence;
    input.begun = true;
    (void)memset(input.there, 0, sizeof input.there);
}

/* A part of another input is dropped while one is incomplete: that one's RUN is what the host is waiting for. */
static bool takes_parts_of(uint32_t sequence)
{
    if (input.begun) {
        return sequence == input.sequence;
    }
    if (kept.is_valid && (sequence == kept.sequence)) {
        return false;
    }
    begin_input(sequence);
    return true;
}

static uint8_t *whole_input(void)
{
    return engine_room.bytes + FRAME_HEADER_BYTES;
}

static void take_part(const frame_t *request, answer_t *answer)
{
    const size_t bytes = request->payload_bytes;
    const size_t at = PLACE_BYTES * (size_t)request->header.mark;
    const size_t end = at + bytes;
    if ((bytes == 0u) || (bytes > PART_BYTES_MAX) || (end > CONFIG_INPUT_BYTES) ||
        (((end % PLACE_BYTES) != 0u) && (end != CONFIG_INPUT_BYTES))) {
        error(answer, BAD_PLACE, PLACES);
        return;
    }
    answer->due = false;
    if (takes_parts_of(request->header.sequence)) {
        (void)memcpy(whole_input() + at, request->payload, bytes);
        for (size_t place = at / PLACE_BYTES; (place * PLACE_BYTES) < end; place++) {
            input.there[place / 8u] |= (uint8_t)(1u << (place % 8u));
        }
    }
}

static size_t first_missing(void)
{
    size_t place = 0u;
    while ((place < PLACES) && ((input.there[place / 8u] & (1u << (place % 8u))) != 0u)) {
        place++;
    }
    return place;
}

/* Say which parts are there, if `missing` is the first that is not. */
static void put_parts(answer_t *answer, size_t missing)
{
    const size_t from = (missing < PLACES) ? (missing / 8u) : PLACE_MAP_BYTES;
    const size_t left = PLACE_MAP_BYTES - from;
    const size_t told = (left < PLACE_MAP_TOLD_MAX) ? left : PLACE_MAP_TOLD_MAX;
    put_u32(answer->payload, (uint32_t)((missing < PLACES) ? (8u * from) : PLACES));
    (void)memcpy(answer->payload + 4, input.there + from, told);
    answer->header.type = PART;
    answer->payload_bytes = 4u + told;
}

/* The piece of the result that the last RUN asked for. */
static uint16_t piece_at;
static uint16_t piece_bytes;

static void run_input(answer_t *answer)
{
    const uint32_t failure = infer(whole_input());
    if (failure != 0u) {
        answer->header.type = RUN;
        error(answer, ENGINE_FAILED, failure);
        return;
    }
    kept.is_valid = true;
    answer->header.type = (uint8_t)RUN | (uint8_t)ANSWER;
    put_result(answer, piece_at, piece_bytes);
}

/* An input runs once: a RUN that comes again is answered from memory, because its answer may be what was lost. */
static void run(const frame_t *request, answer_t *answer)
{
    const uint32_t sequence = request->header.sequence;
    const uint32_t crc = get_u32(request->payload);
    const uint32_t piece = get_u32(request->payload + 4);
    piece_at = (uint16_t)piece;
    piece_bytes = (uint16_t)(piece >> 16);
    if (((size_t)piece_at + piece_bytes) > INFER_ANSWER_BYTES) {
        error(answer, BAD_PLACE, INFER_ANSWER_BYTES);
        return;
    }
    if (kept.is_valid && (sequence == kept.sequence) && (crc == kept.crc)) {
        put_result(answer, piece_at, piece_bytes);
        return;
    }
    if (!input.begun || (sequence != input.sequence)) {
        begin_input(sequence);
    }
    size_t missing = first_missing();
    if (missing == PLACES) {
        if (crc32(whole_input(), CONFIG_INPUT_BYTES) == crc) {
            kept.sequence = sequence;
            kept.crc = crc;
            answer->next = run_input;
        } else {
            begin_input(sequence);
            missing = 0u;
        }
    }
    put_parts(answer, missing);
}
#endif

#ifdef CONFIG_UART_RATES
static uint32_t next_rate;

static void change_rate(answer_t *answer)
{
    answer->due = false;
    port_set_rate(next_rate);
}

static void rate(const frame_t *request, answer_t *answer)
{
    static const uint32_t rates[] = {CONFIG_UART_BAUD, CONFIG_UART_RATES};
    next_rate = get_u32(request->payload);
    for (size_t i = 0u; i < (sizeof rates / sizeof rates[0]); i++) {
        if (rates[i] == next_rate) {
            answer->next = change_rate;
            return;
        }
    }
    error(answer, BAD_RATE, CONFIG_UART_BAUD);
}

static uint32_t lonely_blocks; /* broken ones since the last frame */
#endif

#ifdef TG_PROFILE
static void profile(const frame_t *request, answer_t *answer)
{
    kept.is_valid = false;
    commands_forget_input();
#ifdef CONFIG_KEEPS_STATE
    engine_reset();
    stream.begun = false;
#endif
    profile_start();
    const uint32_t failure = engine_run((const int8_t *)request->payload, result.output, LOGITS);
    const uint64_t *const ticks = profile_stop();
    if (failure != 0u) {
        error(answer, ENGINE_FAILED, failure);
        return;
    }
    (void)memcpy(answer->payload, ticks, PROFILE_ANSWER_BYTES);
    answer->payload_bytes = PROFILE_ANSWER_BYTES;
}
#endif

static void memory(answer_t *answer)
{
    const port_memory_t in_use = port_memory();
    put_u32(answer->payload, engine_arena_bytes());
    put_u32(answer->payload + 4, in_use.static_bytes);
    put_u32(answer->payload + 8, in_use.stack_bytes);
    put_u32(answer->payload + 12, in_use.stack_peak_bytes);
    answer->payload_bytes = 16u;
}

static void echo(const frame_t *request, answer_t *answer)
{
    (void)memcpy(answer->payload, request->payload, request->payload_bytes);
    answer->payload_bytes = request->payload_bytes;
}

#define NOT_KNOWN ((size_t)-1)

/* The length that the payload of a request has to have; that of PART depends on its place. */
static size_t right_length(const frame_t *request)
{
    switch (request->header.type) {
    case HELLO:
    case MEMORY:
        return 0u;
    case INFER:
#ifdef TG_PROFILE
    case PROFILE:
#endif
        return CONFIG_INPUT_BYTES;
#ifdef TAKES_PARTS
    case RUN:
        return 8u;
    case PART:
        return request->payload_bytes;
#else
    case RESET:
        return 0u;
#endif
#ifdef CONFIG_UART_RATES
    case RATE:
        return 4u;
#endif
    case ECHO:
        return (request->payload_bytes < ECHO_BYTES_MAX) ? request->payload_bytes : ECHO_BYTES_MAX;
    default:
        return NOT_KNOWN;
    }
}

void commands_answer(const frame_t *request, answer_t *answer)
{
    const uint8_t type = request->header.type;
    answer->header = request->header;
    answer->due = true;
#ifdef CONFIG_UART_RATES
    lonely_blocks = 0u;
#endif
    if (request->version != PROTOCOL_VERSION) {
        error(answer, BAD_VERSION, PROTOCOL_VERSION);
        return;
    }
    const size_t right = right_length(request);
    if (request->payload_bytes != right) {
        if (right == NOT_KNOWN) {
            error(answer, UNKNOWN_TYPE, 0u);
        } else {
            error(answer, BAD_LENGTH, (uint32_t)right);
        }
        return;
    }
    comes_in_parts = (type == (uint8_t)PART) || (type == (uint8_t)RUN);
    switch (type) {
    case HELLO:
        hello(answer);
        break;
    case INFER:
        infer_whole(request, answer);
        break;
    case MEMORY:
        memory(answer);
        break;
    case ECHO:
        echo(request, answer);
        break;
#ifdef TAKES_PARTS
    case PART:
        take_part(request, answer);
        break;
    case RUN:
        run(request, answer);
        break;
#else
    case RESET:
        begin_stream();
        break;
#endif
#ifdef CONFIG_UART_RATES
    case RATE:
        rate(request, answer);
        break;
#endif
#ifdef TG_PROFILE
    case PROFILE:
        profile(request, answer);
        break;
#endif
    default:
        break;
    }
    if (answer->header.type != (uint8_t)ERROR) {
        answer->header.type |= (uint8_t)ANSWER;
    }
}

void commands_answer_broken(answer_t *answer)
{
    answer->due = !comes_in_parts;
    error(answer, BROKEN_FRAME, 0u);
#ifdef CONFIG_UART_RATES
    lonely_blocks++;
    if (lonely_blocks ==
        LONELY_BLOCKS_MAX) { /* the host speaks at another rate: they will meet at the first one */
        port_set_rate(CONFIG_UART_BAUD);
    }
#endif
}
