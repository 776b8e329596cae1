#include "commands.h"
#include "engine.h"
#include "firmware.h"
#include "port/port.h"
#include "protocol.h"

/* The bulk line of docs/serial-protocol.md finds these by name: a host that stops the core in port_mark_idle writes
 * a packet to `request_packet` and both lengths, the second as 0. */
volatile struct {
    uint32_t request_bytes;
    uint32_t answer_bytes;
} bulk_mailbox;
_Alignas(4) uint8_t request_packet[FRAME_OVERHEAD_BYTES + REQUEST_PAYLOAD_MAX];
_Alignas(4) uint8_t answer_packet[FRAME_OVERHEAD_BYTES + ANSWER_PAYLOAD_MAX];

/* Returns the bytes of the answer's packet. */
static size_t make_answer(frame_event_t event, const frame_t *request)
{
    uint8_t *const payload = answer_packet + FRAME_HEADER_BYTES;
    const answer_t answer =
        (event == FRAME_WHOLE) ? commands_answer(request, payload) : commands_answer_broken(payload);
    return frame_close(answer_packet, answer.payload_bytes, answer.type, answer.sequence);
}

static void take_byte(frame_reader_t *reader, uint8_t byte)
{
    frame_t request;
    const frame_event_t event = frame_reader_take(reader, byte, &request);
    if (event != FRAME_NONE) {
        frame_send(answer_packet, make_answer(event, &request), port_write);
    }
}

/* Returns false if there is no request. */
static bool take_bulk(void)
{
    port_mark_idle();
    const size_t bytes = bulk_mailbox.request_bytes;
    if (bytes == 0u) {
        return false;
    }
    frame_t request;
    const frame_event_t event =
        (bytes <= sizeof request_packet) ? frame_open(request_packet, bytes, &request) : FRAME_BROKEN;
    bulk_mailbox.answer_bytes = (uint32_t)make_answer(event, &request);
    bulk_mailbox.request_bytes = 0u;
    return true;
}

static frame_reader_t reader;

void firmware_start(void)
{
    frame_reader_init(&reader, request_packet, sizeof request_packet);
    engine_start();
    port_start();
}

void firmware_poll(void)
{
    uint8_t byte;
    while (port_read(&byte)) {
        take_byte(&reader, byte);
    }
    if (!take_bulk()) {
        port_wait();
    }
}

#ifndef TG_FRAMEWORK
int main(void)
{
    firmware_start();
    for (;;) {
        firmware_poll();
    }
}
#endif
