#include "protocol.h"

#define COBS_LONGEST_RUN 254u
#define OFFSET_VERSION 0u
#define OFFSET_TYPE 1u
#define OFFSET_RESERVED 2u
#define OFFSET_SEQUENCE 4u

void put_u32(uint8_t *to, uint32_t value)
{
    for (size_t i = 0u; i < 4u; i++) {
        to[i] = (uint8_t)(value >> (8u * i));
    }
}

void put_u64(uint8_t *to, uint64_t value)
{
    put_u32(to, (uint32_t)value);
    put_u32(to + 4, (uint32_t)(value >> 32));
}

uint32_t get_u32(const uint8_t *from)
{
    uint32_t value = 0u;
    for (size_t i = 0u; i < 4u; i++) {
        value |= (uint32_t)from[i] << (8u * i);
    }
    return value;
}

/* CRC-32/ISO-HDLC, four bits per step, which takes a table of 64 bytes instead of 1 KiB. */
static uint32_t crc32(const uint8_t *bytes, size_t count)
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
    frame->type = packet[OFFSET_TYPE];
    frame->sequence = get_u32(packet + OFFSET_SEQUENCE);
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

void frame_reader_init(frame_reader_t *reader, uint8_t *buffer, size_t capacity)
{
    reader->buffer = buffer;
    reader->capacity = capacity;
    reader_restart(reader);
}

static void reader_store(frame_reader_t *reader, uint8_t byte)
{
    if (reader->used < reader->capacity) {
        reader->buffer[reader->used] = byte;
        reader->used++;
    } else {
        reader->too_long = true;
    }
}

static frame_event_t reader_finish(const frame_reader_t *reader, frame_t *frame)
{
    if (!reader->started) {
        return FRAME_NONE;
    }
    if ((reader->run_left != 0u) || reader->too_long) {
        return FRAME_BROKEN;
    }
    return frame_open(reader->buffer, reader->used, frame);
}

frame_event_t frame_reader_take(frame_reader_t *reader, uint8_t byte, frame_t *frame)
{
    if (byte == 0u) {
        const frame_event_t event = reader_finish(reader, frame);
        reader_restart(reader);
        return event;
    }
    reader->started = true;
    if (reader->run_left > 0u) {
        reader->run_left--;
        reader_store(reader, byte);
        return FRAME_NONE;
    }
    if (reader->zero_pending) {
        reader_store(reader, 0u);
    }
    reader->run_left = (uint8_t)(byte - 1u);
    reader->zero_pending = byte <= COBS_LONGEST_RUN;
    return FRAME_NONE;
}

static size_t run_length(const uint8_t *bytes, size_t count)
{
    size_t length = 0u;
    while ((length < count) && (length < COBS_LONGEST_RUN) && (bytes[length] != 0u)) {
        length++;
    }
    return length;
}

static void send_stuffed(const uint8_t *bytes, size_t count, frame_sink_t sink)
{
    size_t at = 0u;
    bool more = true;
    while (more) {
        const size_t run = run_length(bytes + at, count - at);
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

size_t frame_close(uint8_t *packet, size_t payload_bytes, uint8_t type, uint32_t sequence)
{
    const size_t checked = FRAME_HEADER_BYTES + payload_bytes;
    packet[OFFSET_VERSION] = PROTOCOL_VERSION;
    packet[OFFSET_TYPE] = type;
    packet[OFFSET_RESERVED] = 0u;
    packet[OFFSET_RESERVED + 1u] = 0u;
    put_u32(packet + OFFSET_SEQUENCE, sequence);
    put_u32(packet + checked, crc32(packet, checked));
    return checked + FRAME_CRC_BYTES;
}

void frame_send(const uint8_t *packet, size_t bytes, frame_sink_t sink)
{
    sink(0u);
    send_stuffed(packet, bytes, sink);
    sink(0u);
}
