/* The engine of generated C, which calls the bundle's tg_model_run. */
#include "engine.h"

#include "commands.h"
#include "tg_model.h"

_Static_assert(CONFIG_INPUT_BYTES == TG_INPUT_BYTES, "config.h is of another model");
_Static_assert(CONFIG_OUTPUT_BYTES == TG_OUTPUT_BYTES, "config.h is of another model");
_Static_assert(CONFIG_LOGIT_COUNT == TG_LOGIT_COUNT, "config.h is of another model");

#ifdef TG_INPUT_OFFSET
/* The plan has a place for the input in the arena, with room for the packet around it. */
_Static_assert((TG_INPUT_OFFSET % 4u) == 0u, "the payload is aligned");
_Static_assert(TG_INPUT_OFFSET >= FRAME_HEADER_BYTES, "there is room for the header");
_Static_assert((TG_INPUT_OFFSET + REQUEST_PACKET_MAX) <= (TG_ROOM_BYTES + FRAME_HEADER_BYTES),
               "there is room for the packet");
const frame_room_t engine_room = {
    .bytes = (uint8_t *)tg_arena + TG_INPUT_OFFSET - FRAME_HEADER_BYTES,
    .capacity = REQUEST_PACKET_MAX,
};
#define ARENA_BYTES TG_ROOM_BYTES
#else
/* The C is of a version that did not plan for the input. */
_Alignas(4) static uint8_t packet[REQUEST_PACKET_MAX];
const frame_room_t engine_room = {.bytes = packet, .capacity = sizeof packet};
#define ARENA_BYTES TG_ARENA_BYTES
#endif

const char *engine_name(void)
{
    return "native";
}

const uint8_t *engine_model_sha256(void)
{
    return tg_model_sha256;
}

uint32_t engine_arena_bytes(void)
{
    return ARENA_BYTES;
}

void engine_start(void)
{
    engine_reset();
}

void engine_reset(void)
{
#ifdef TG_STATE_BYTES
    tg_model_reset();
#endif
}

uint32_t engine_run(const int8_t *input, int8_t *output, int32_t *logits)
{
    tg_model_run(input, output, logits);
    return 0u;
}
