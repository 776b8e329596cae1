/* The firmware's port for a fuzzer that is led by coverage: it makes the bytes that the line brings, keeps the blocks
 * that reach code which none before them reached, and sees to it that a whole request, and one in parts, are still
 * answered as at first.
 *
 *   FUZZ_BLOCKS=1000000 FUZZ_SEED=1 firmware < CORPUS > LARGER_CORPUS
 *
 * A corpus has a block a line, in hexadecimal digits.
 *
 * The firmware is compiled with -fsanitize-coverage=trace-pc, this file is not. */
#include "commands.h"
#include "port/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX (1024u + (3u * CONFIG_INPUT_BYTES)) /* a whole request and one in parts */
#define CORPUS_MAX 4096u
#define EDGES 65536u
#define CHECK_EVERY 256u
#define INTERESTING 5u

typedef struct {
    size_t count;
    uint8_t bytes[BLOCK_MAX];
} block_t;

void __sanitizer_cov_trace_pc(void);

static uint8_t reached[EDGES];
static uint32_t edges;
static uint32_t edges_before;
static block_t corpus[CORPUS_MAX];
static size_t corpus_count;
static size_t given_count; /* blocks of the corpus that was read; they are tried first */
static block_t block;
static size_t block_taken;
static uint8_t answer[8u * BLOCK_MAX];
static size_t answer_count;
static uint8_t expected[8u * BLOCK_MAX];
static size_t expected_count;
static bool is_checking;
static uint64_t state;
static unsigned long blocks_left;
static unsigned long blocks_done;

/* Called at each edge of the firmware's control flow. */
void __sanitizer_cov_trace_pc(void)
{
    const uintptr_t place = (uintptr_t)__builtin_return_address(0);
    const size_t edge = (size_t)((place ^ (place >> 16)) % EDGES);
    if (reached[edge] == 0u) {
        reached[edge] = 1u;
        edges++;
    }
}

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void to_block(uint8_t byte)
{
    if (block.count < BLOCK_MAX) {
        block.bytes[block.count] = byte;
        block.count++;
    }
}

/* A frame with the right CRC. */
static void frame_block(uint8_t type, uint32_t sequence, uint16_t mark, size_t payload_bytes, bool random)
{
    static uint8_t packet[BLOCK_MAX];
    const frame_header_t header = {.type = type, .mark = mark, .sequence = sequence};
    for (size_t i = 0u; i < payload_bytes; i++) {
        packet[FRAME_HEADER_BYTES + i] = random ? (uint8_t)draw(256u) : (uint8_t)i;
    }
    frame_send(packet, frame_close(packet, payload_bytes, &header), to_block);
}

static void draw_frame(void)
{
    static const size_t sizes[INTERESTING] = {0u, 4u, 8u, CONFIG_INPUT_BYTES, PART_BYTES_MAX};
    const size_t size = (draw(2u) == 0u) ? sizes[draw(INTERESTING)] : (size_t)draw(300u);
    frame_block((uint8_t)draw(12u), draw(4u), (uint16_t)draw(8u), size, draw(2u) == 0u);
}

static void change_block(void)
{
    for (uint32_t changes = 1u + draw(4u); (changes > 0u) && (block.count > 0u); changes--) {
        const size_t at = (size_t)draw((uint32_t)block.count);
        switch (draw(4u)) {
        case 0u:
            block.bytes[at] ^= (uint8_t)(1u << draw(8u));
            break;
        case 1u:
            block.bytes[at] = (uint8_t)draw(256u);
            break;
        case 2u:
            block.count = at;
            break;
        default:
            to_block((uint8_t)draw(256u));
            break;
        }
    }
}

static void next_block(void)
{
    if (blocks_done <= given_count) {
        block = corpus[blocks_done - 1u];
        return;
    }
    block.count = 0u;
    switch ((corpus_count == 0u) ? 0u : draw(4u)) {
    case 0u:
        draw_frame();
        break;
    case 1u:
        draw_frame();
        change_block();
        break;
    default:
        block = corpus[draw((uint32_t)corpus_count)];
        if (draw(4u) == 0u) { /* the start of one block, the end of another */
            const block_t *other = &corpus[draw((uint32_t)corpus_count)];
            block.count = (size_t)draw((uint32_t)block.count + 1u);
            for (size_t i = (size_t)draw((uint32_t)other->count + 1u); i < other->count; i++) {
                to_block(other->bytes[i]);
            }
        }
        change_block();
        break;
    }
}

/* Requests that have to be answered as they were at first, whatever came before them. */
static void check_block(void)
{
    static uint8_t packet[BLOCK_MAX];
    uint8_t *const input = packet + FRAME_HEADER_BYTES;
    block.count = 0u;
    to_block(0u);
    frame_block(2u, 77u, 0u, CONFIG_INPUT_BYTES, false);
    for (size_t at = 0u; at < CONFIG_INPUT_BYTES; at += PART_BYTES_MAX) {
        const size_t left = CONFIG_INPUT_BYTES - at;
        frame_block(6u, 78u, (uint16_t)(at / 32u), (left < PART_BYTES_MAX) ? left : PART_BYTES_MAX, false);
    }
    for (size_t i = 0u; i < CONFIG_INPUT_BYTES; i++) { /* as frame_block fills its payload */
        input[i] = (uint8_t)(i % PART_BYTES_MAX);
    }
    put_u32(input, crc32(input, CONFIG_INPUT_BYTES));
    put_u32(input + 4, (uint32_t)INFER_ANSWER_BYTES << 16);
    const frame_header_t header = {.type = 7u, .sequence = 78u};
    frame_send(packet, frame_close(packet, 8u, &header), to_block);
}

/* Compare the end of what was answered to `check_block`: before it may be answers to what the line broke off. */
static void check_answer(void)
{
    if (expected_count == 0u) {
        expected_count = answer_count;
        (void)memcpy(expected, answer, answer_count);
    }
    if ((answer_count < expected_count) ||
        (memcmp(&answer[answer_count - expected_count], expected, expected_count) != 0)) {
        (void)fprintf(stderr, "a whole request was answered otherwise after %lu blocks\n", blocks_done);
        exit(EXIT_FAILURE);
    }
}

static void keep_block(void)
{
    if ((corpus_count < CORPUS_MAX) && (block.count > 0u)) {
        corpus[corpus_count] = block;
        corpus_count++;
    }
}

static void read_corpus(void)
{
    static char line[(2u * BLOCK_MAX) + 2u];
    while (fgets(line, (int)sizeof line, stdin) != NULL) {
        block.count = 0u;
        unsigned int byte;
        for (size_t i = 0u; sscanf(&line[i], "%2x", &byte) == 1; i += 2u) {
            to_block((uint8_t)byte);
        }
        keep_block();
    }
    given_count = corpus_count;
}

static void finish(void)
{
    for (size_t i = 0u; i < corpus_count; i++) {
        for (size_t j = 0u; j < corpus[i].count; j++) {
            (void)printf("%02x", corpus[i].bytes[j]);
        }
        (void)printf("\n");
    }
    (void)fprintf(stderr, "%lu blocks, %u edges, %zu kept\n", blocks_done, edges, corpus_count);
    exit(EXIT_SUCCESS);
}

static unsigned long number(const char *name)
{
    const char *text = getenv(name);
    return (text == NULL) ? 0u : strtoul(text, NULL, 10);
}

void port_start(void)
{
    blocks_left = number("FUZZ_BLOCKS");
    state = 0x9E3779B97F4A7C15u ^ (uint64_t)number("FUZZ_SEED");
    read_corpus();
    block.count = 0u;
}

size_t port_received(const uint8_t **bytes)
{
    *bytes = &block.bytes[block_taken];
    return block.count - block_taken;
}

void port_taken(size_t count)
{
    block_taken += count;
}

/* All that there was is taken and answered. */
void port_wait(void)
{
    if (is_checking) {
        check_answer();
    } else if ((edges > edges_before) && (blocks_done > given_count)) {
        keep_block();
    } else {
        /* nothing new */
    }
    edges_before = edges;
    answer_count = 0u;
    block_taken = 0u;
    if (is_checking && (blocks_left == 0u)) {
        finish();
    }
    is_checking = (blocks_done % CHECK_EVERY == 0u) && !is_checking;
    if (is_checking || (blocks_left == 0u)) {
        is_checking = true;
        check_block();
        return;
    }
    blocks_left--;
    blocks_done++;
    next_block();
}

void port_write(uint8_t byte)
{
    if (answer_count < sizeof answer) {
        answer[answer_count] = byte;
        answer_count++;
    }
}
