/* Frames on the serial line: a header, the payload and a CRC-32, encoded with COBS between zeros. See
 * docs/serial-protocol.md. This knows nothing of models, boards or requests; tests also compile it for the
 * host.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 2u

#define FRAME_HEADER_BYTES 8u
#define FRAME_CRC_BYTES 4u
#define FRAME_OVERHEAD_BYTES (FRAME_HEADER_BYTES + FRAME_CRC_BYTES)

typedef struct {
    uint8_t type;
    uint16_t mark;
    uint32_t sequence;
} frame_header_t;

typedef struct {
    uint8_t version;
    frame_header_t header;
    const uint8_t *payload; /* in one of the reader's buffers, valid until its next byte */
    size_t payload_bytes;
} frame_t;

typedef enum {
    FRAME_NONE,  /* no answer is due yet */
    FRAME_WHOLE, /* a frame with the right CRC */
    FRAME_BROKEN /* a block that is not a frame */
} frame_event_t;

/* A buffer of so many bytes. */
typedef struct {
    uint8_t *bytes;
    size_t capacity;
} frame_room_t;

/* Decodes COBS while the bytes arrive. */
typedef struct {
    frame_room_t small;
    const frame_room_t *large;
    size_t used;
    uint8_t run_left;  /* bytes until the next code byte */
    bool zero_pending; /* a zero stands where the next code byte is, unless the block ends there */
    bool started;
    bool too_long;
    bool spilled; /* a packet went to the large buffer; stays set until the caller clears it */
} frame_reader_t;

typedef void (*frame_sink_t)(uint8_t byte);

/* Packets that do not fit into `small` go to `large`, which is larger and which the others leave alone. If both are aligned to 4 bytes,
 * so is every payload. */
void frame_reader_init(frame_reader_t *reader, frame_room_t small, const frame_room_t *large);

/* Take received bytes up to the end of a block, `taken` of them; `frame` is filled in if the result is FRAME_WHOLE. */
frame_event_t frame_reader_take(frame_reader_t *reader, const uint8_t *bytes, size_t count, size_t *taken,
                                frame_t *frame);

/* Check a whole packet of so many bytes; `frame` is filled in if the result is FRAME_WHOLE, otherwise it is
 * FRAME_BROKEN. */
frame_event_t frame_open(const uint8_t *packet, size_t bytes, frame_t *frame);

/* Write `header` and the CRC around the payload, which is already in `packet` from FRAME_HEADER_BYTES on; `packet`
 * has room for payload_bytes + FRAME_OVERHEAD_BYTES. Returns the bytes of the packet. */
size_t frame_close(uint8_t *packet, size_t payload_bytes, const frame_header_t *header);

/* Send a closed packet as a frame of the serial line. */
void frame_send(const uint8_t *packet, size_t bytes, frame_sink_t sink);

void put_u32(uint8_t *to, uint32_t value);
uint32_t get_u32(const uint8_t *from);

/* CRC-32/ISO-HDLC. */
uint32_t crc32(const uint8_t *bytes, size_t count);

#endif
