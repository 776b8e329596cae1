/* The least program that runs a model: what an engine costs in flash without the evaluation protocol. */
#include "tg_model.h"

#include <stddef.h>
#include <stdint.h>

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

void reset_entry(void)
{
    /* volatile: or the compiler makes calls of memcpy and memset of these loops. */
    const uint32_t *from = ld_data_load;
    for (volatile uint32_t *to = ld_data_start; to < ld_data_end; to++) {
        *to = *from++;
    }
    for (volatile uint32_t *to = ld_bss_start; to < ld_bss_end; to++) {
        *to = 0;
    }
    for (;;) {
        tg_model_run(input, output, NULL);
    }
}
