#include "commands.h"
#include "engine.h"
#ifdef TG_FRAMEWORK
#include "firmware.h"
#endif
#include "port/port.h"
#include "protocol.h"

/* The bulk line of docs/serial-protocol.md finds these by name: a host that stops the core in port_mark_idle writes
 * a packet to engine_room and both lengths, the second as 0. */
volatile struct {
    uint32_t request_bytes;
    uint32_t answer_bytes;
} bulk_mailbox;
_Alignas(4) uint8_t answer_packet[FRAME_OVERHEAD_BYTES + ANSWER_PAYLOAD_MAX];
_Alignas(4) static uint8_t part_packet[FRAME_OVERHEAD_BYTES + PART_BYTES_MAX];

/* Answer a request; `deliver` gets the bytes of each answer's packet, 0 if there is none. In line, it would be there
 * twice. */
__attribute__((noinline)) static void respond(frame_event_t event, const frame_t *request,
                                              void (*deliver)(size_t bytes))
{
    answer_t answer = {.payload = answer_packet + FRAME_HEADER_BYTES};
    if (event == FRAME_WHOLE) {
        commands_answer(request, &answer);
    } else {
        commands_answer_broken(&answer);
    }
    for (;;) {
        deliver(answer.due ? frame_close(answer_packet, answer.payload_bytes, &answer.header) : 0u);
        void (*const next)(answer_t *) = answer.next;
        if (next == NULL) {
            return;
        }
        answer.next = NULL;
        next(&answer);
    }
}

static void send_packet(size_t bytes)
{
    if (bytes > 0u) {
        frame_send(answer_packet, bytes, port_write);
    }
}

/* There is room for one answer only, the last. */
static void leave_packet(size_t bytes)
{
    bulk_mailbox.answer_bytes = (uint32_t)bytes;
}

/* Take received bytes, up to the end of a block, and answer it. */
static void take_bytes(frame_reader_t *reader, const uint8_t *bytes, size_t count)
{
    size_t taken = 0u;
    frame_t request;
    const frame_event_t event = frame_reader_take(reader, bytes, count, &taken, &request);
    port_taken(taken); /* now, because the next request needs the room while this one is answered */
    if (event != FRAME_NONE) {
        if (reader->spilled) {
            reader->spilled = false;
            commands_forget_input();
        }
        respond(event, &request, send_packet);
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
        (bytes <= engine_room.capacity) ? frame_open(engine_room.bytes, bytes, &request) : FRAME_BROKEN;
    commands_forget_input();
    respond(event, &request, leave_packet);
    bulk_mailbox.request_bytes = 0u;
    return true;
}

static void start(frame_reader_t *reader)
{
    frame_reader_init(reader, (frame_room_t){part_packet, sizeof part_packet}, &engine_room);
    engine_start();
    port_start();
}

static void poll(frame_reader_t *reader)
{
    const uint8_t *bytes;
    size_t count;
    while ((count = port_received(&bytes)) > 0u) {
        take_bytes(reader, bytes, count);
    }
    if (!take_bulk()) {
        port_wait();
    }
}

#ifdef TG_FRAMEWORK
static frame_reader_t framework_reader;

void firmware_start(void)
{
    start(&framework_reader);
}

void firmware_poll(void)
{
    poll(&framework_reader);
}
#else
int main(void)
{
    frame_reader_t reader;
    start(&reader);
    for (;;) {
        poll(&reader);
    }
}
#endif
