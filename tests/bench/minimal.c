/* The least program that runs a model: what an engine costs in flash without the evaluation protocol. */
#include "tg_model.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern uint32_t ld_stack_end[];
extern uint32_t ld_data_load[];
extern uint32_t ld_data_start[];
extern uint32_t ld_data_end[];
extern uint32_t ld_bss_start[];
extern uint32_t ld_bss_end[];

void reset_entry(void);

static _Alignas(4) int8_t input[TG_INPUT_BYTES];
static int8_t output[TG_OUTPUT_BYTES];

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*reset)(void);
} vectors = {ld_stack_end, reset_entry};

static size_t bytes_between(const uint32_t *start, const uint32_t *end)
{
    return (size_t)((uintptr_t)end - (uintptr_t)start);
}

void reset_entry(void)
{
    (void)memcpy(ld_data_start, ld_data_load, bytes_between(ld_data_start, ld_data_end));
    (void)memset(ld_bss_start, 0, bytes_between(ld_bss_start, ld_bss_end));
    for (;;) {
        tg_model_run(input, output, NULL);
    }
}
