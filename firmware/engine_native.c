/* The engine of generated C: the bundle's own tg_model_run. */
#include "engine.h"

#include "tg_model.h"

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
    return TG_ARENA_BYTES;
}

void engine_run(const int8_t *input, int8_t *output, int32_t *logits)
{
    tg_model_run(input, output, logits);
}
