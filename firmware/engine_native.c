/* The engine of generated C, which calls the bundle's tg_model_run. */
#include "engine.h"

#include "config.h"
#include "tg_model.h"

_Static_assert(CONFIG_INPUT_BYTES == TG_INPUT_BYTES, "config.h is of another model");
_Static_assert(CONFIG_OUTPUT_BYTES == TG_OUTPUT_BYTES, "config.h is of another model");
_Static_assert(CONFIG_LOGIT_COUNT == TG_LOGIT_COUNT, "config.h is of another model");

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
