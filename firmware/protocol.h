/* Frames on the serial line: a header, the payload and a CRC-32, encoded with COBS between zeros. See
 * docs/serial-protocol.md. This knows nothing of models, boards or requests; tests also compile it for the
 * host.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1u

#define FRAME_HEADER_BYTES 8u
#define FRAME_CRC_BYTES 4u
#define FRAME_OVERHEAD_BYTES (FRAME_HEADER_BYTES + FRAME_CRC_BYTES)

typedef struct {
    uint8_t version;
    uint8_t type;
    uint32_t sequence;
    const uint8_t *payload; /* in the reader's buffer, valid until its next byte */
    size_t payload_bytes;
} frame_t;

typedef enum {
    FRAME_NONE,  /* no answer is due yet */
    FRAME_WHOLE, /* a frame with the right CRC */
    FRAME_BROKEN /* a block that is not a frame */
} frame_event_t;

/* Decodes COBS while the bytes arrive. */
typedef struct {
    uint8_t *buffer;
    size_t capacity;
    size_t used;
    uint8_t run_left;  /* bytes until the next code byte */
    bool zero_pending; /* a zero stands where the next code byte is, unless the block ends there */
    bool started;
    bool too_long;
} frame_reader_t;

typedef void (*frame_sink_t)(uint8_t byte);

/* `buffer` takes whole packets of at most `capacity` bytes; if it is aligned to 4 bytes, so is
 * every payload. */
void frame_reader_init(frame_reader_t *reader, uint8_t *buffer, size_t capacity);

/* Take one received byte; `frame` is filled in if the result is FRAME_WHOLE. */
frame_event_t frame_reader_take(frame_reader_t *reader, uint8_t byte, frame_t *frame);

/* Check a whole packet of so many bytes; `frame` is filled in if the result is FRAME_WHOLE, otherwise it is
 * FRAME_BROKEN. */
frame_event_t frame_open(const uint8_t *packet, size_t bytes, frame_t *frame);

/* Write header and CRC around the payload, which is already in `packet` from FRAME_HEADER_BYTES on; `packet` has
 * room for payload_bytes + FRAME_OVERHEAD_BYTES. Returns the bytes of the packet. */
size_t frame_close(uint8_t *packet, size_t payload_bytes, uint8_t type, uint32_t sequence);

/* Send a closed packet as a frame of the serial line. */
void frame_send(const uint8_t *packet, size_t bytes, frame_sink_t sink);

void put_u32(uint8_t *to, uint32_t value);
void put_u64(uint8_t *to, uint64_t value);
uint32_t get_u32(const uint8_t *from);

#endif
