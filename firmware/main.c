#include "commands.h"
#include "engine.h"
#include "port/port.h"
#include "protocol.h"

static _Alignas(4) uint8_t request_packet[FRAME_OVERHEAD_BYTES + REQUEST_PAYLOAD_MAX];
static _Alignas(4) uint8_t answer_packet[FRAME_OVERHEAD_BYTES + ANSWER_PAYLOAD_MAX];

static void answer_byte(frame_reader_t *reader, uint8_t byte)
{
    frame_t request;
    const frame_event_t event = frame_reader_take(reader, byte, &request);
    if (event == FRAME_NONE) {
        return;
    }
    uint8_t *const payload = answer_packet + FRAME_HEADER_BYTES;
    const answer_t answer =
        (event == FRAME_WHOLE) ? commands_answer(&request, payload) : commands_answer_broken(payload);
    frame_send(answer_packet, answer.payload_bytes, answer.type, answer.sequence, port_write);
}

int main(void)
{
    frame_reader_t reader;
    frame_reader_init(&reader, request_packet, sizeof request_packet);
    engine_start();
    port_start();
    for (;;) {
        uint8_t byte;
        while (port_read(&byte)) {
            answer_byte(&reader, byte);
        }
        port_wait();
    }
}
