#include "protocol.h"

#include <string.h>

#define COBS_LONGEST_RUN 254u
#define OFFSET_VERSION 0u
#define OFFSET_TYPE 1u
#define OFFSET_MARK 2u
#define OFFSET_SEQUENCE 4u

void put_u32(uint8_t *to, uint32_t value)
{
    for (size_t i = 0u; i < 4u; i++) {
        to[i] = (uint8_t)(value >> (8u * i));
    }
}

uint32_t get_u32(const uint8_t *from)
{
    uint32_t value = 0u;
    for (size_t i = 0u; i < 4u; i++) {
        value |= (uint32_t)from[i] << (8u * i);
    }
    return value;
}

/* Four bits per step, which takes a table of 64 bytes instead of 1 KiB. */
uint32_t crc32(const uint8_t *bytes, size_t count)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0u; i < count; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return ~crc;
}

frame_event_t frame_open(const uint8_t *packet, size_t bytes, frame_t *frame)
{
    if (bytes < FRAME_OVERHEAD_BYTES) {
        return FRAME_BROKEN;
    }
    const size_t checked = bytes - FRAME_CRC_BYTES;
    if (crc32(packet, checked) != get_u32(packet + checked)) {
        return FRAME_BROKEN;
    }
    frame->version = packet[OFFSET_VERSION];
    frame->header.type = packet[OFFSET_TYPE];
    frame->header.mark = (uint16_t)(packet[OFFSET_MARK] | ((uint32_t)packet[OFFSET_MARK + 1u] << 8));
    frame->header.sequence = get_u32(packet + OFFSET_SEQUENCE);
    frame->payload = packet + FRAME_HEADER_BYTES;
    frame->payload_bytes = checked - FRAME_HEADER_BYTES;
    return FRAME_WHOLE;
}

static void reader_restart(frame_reader_t *reader)
{
    reader->used = 0u;
    reader->run_left = 0u;
    reader->zero_pending = false;
    reader->started = false;
    reader->too_long = false;
}

void frame_reader_init(frame_reader_t *reader, frame_room_t small, const frame_room_t *large)
{
    reader->small = small;
    reader->large = large;
    reader->spilled = false;
    reader_restart(reader);
}

/* Store bytes of the packet; the whole of it moves to the large buffer once it does not fit into the small one. */
static void reader_store(frame_reader_t *reader, const uint8_t *bytes, size_t count)
{
    const size_t used = reader->used;
    const size_t end = used + count;
    uint8_t *to = reader->small.bytes;
    if (end > reader->large->capacity) {
        reader->too_long = true;
        return;
    }
    if (end > reader->small.capacity) {
        to = reader->large->bytes;
        if (used <= reader->small.capacity) {
            (void)memcpy(to, reader->small.bytes, used);
            reader->spilled = true;
        }
    }
    (void)memcpy(to + used, bytes, count);
    reader->used = end;
}

static size_t until_zero(const uint8_t *bytes, size_t most)
{
    size_t count = 0u;
    while ((count < most) && (bytes[count] != 0u)) {
        count++;
    }
    return count;
}

static frame_event_t reader_finish(const frame_reader_t *reader, frame_t *frame)
{
    if (!reader->started) {
        return FRAME_NONE;
    }
    if ((reader->run_left != 0u) || reader->too_long) {
        return FRAME_BROKEN;
    }
    const bool is_small = reader->used <= reader->small.capacity;
    return frame_open(is_small ? reader->small.bytes : reader->large->bytes, reader->used, frame);
}

frame_event_t frame_reader_take(frame_reader_t *reader, const uint8_t *bytes, size_t count, size_t *taken,
                                frame_t *frame)
{
    size_t at = 0u;
    while (at < count) {
        const uint8_t byte = bytes[at];
        if (byte == 0u) {
            const frame_event_t event = reader_finish(reader, frame);
            reader_restart(reader);
            *taken = at + 1u;
            return event;
        }
        reader->started = true;
        if (reader->run_left > 0u) {
            const size_t left = count - at;
            const size_t run = until_zero(bytes + at, (left < reader->run_left) ? left : reader->run_left);
            reader_store(reader, bytes + at, run);
            reader->run_left = (uint8_t)(reader->run_left - run);
            at += run;
        } else {
            if (reader->zero_pending) {
                static const uint8_t zero = 0u;
                reader_store(reader, &zero, 1u);
            }
            reader->run_left = (uint8_t)(byte - 1u);
            reader->zero_pending = byte <= COBS_LONGEST_RUN;
            at++;
        }
    }
    *taken = at;
    return FRAME_NONE;
}

static void send_stuffed(const uint8_t *bytes, size_t count, frame_sink_t sink)
{
    size_t at = 0u;
    bool more = true;
    while (more) {
        const size_t left = count - at;
        const size_t run = until_zero(bytes + at, (left < COBS_LONGEST_RUN) ? left : COBS_LONGEST_RUN);
        sink((uint8_t)(run + 1u));
        for (size_t i = 0u; i < run; i++) {
            sink(bytes[at + i]);
        }
        at += run;
        more = at < count;
        /* Every run but a full one is followed by a zero that its code byte stands for; skip that zero. */
        if (more && (run < COBS_LONGEST_RUN)) {
            at++;
        }
    }
}

size_t frame_close(uint8_t *packet, size_t payload_bytes, const frame_header_t *header)
{
    const size_t checked = FRAME_HEADER_BYTES + payload_bytes;
    packet[OFFSET_VERSION] = PROTOCOL_VERSION;
    packet[OFFSET_TYPE] = header->type;
    packet[OFFSET_MARK] = (uint8_t)header->mark;
    packet[OFFSET_MARK + 1u] = (uint8_t)(header->mark >> 8);
    put_u32(packet + OFFSET_SEQUENCE, header->sequence);
    put_u32(packet + checked, crc32(packet, checked));
    return checked + FRAME_CRC_BYTES;
}

void frame_send(const uint8_t *packet, size_t bytes, frame_sink_t sink)
{
    sink(0u);
    send_stuffed(packet, bytes, sink);
    sink(0u);
}
