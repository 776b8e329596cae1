/* Runs every model of the table on its inputs and writes the outputs, one after another, to a file of the
 * host through semihosting. */
#include "models.h"

#include <stdint.h>

#define SYS_OPEN 0x01u
#define SYS_CLOSE 0x02u
#define SYS_WRITE 0x05u
#define SYS_EXIT 0x18u
#define OPEN_WRITE_BINARY 5u
#define EXIT_DONE 0x20026u
#define EXIT_FAULT 0x20023u

static uint32_t semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

_Alignas(4) static int8_t output[LARGEST_OUTPUT];
static int32_t logits[LARGEST_OUTPUT];

extern uint32_t ld_stack_end;
void reset(void);
static void fault(void);

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&ld_stack_end, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,         (uintptr_t)fault, (uintptr_t)fault,
};

static void fault(void)
{
    (void)semihost(SYS_EXIT, (const void *)EXIT_FAULT);
}

static void save(uint32_t file, const void *data, uint32_t bytes)
{
    const uint32_t block[3] = {file, (uint32_t)(uintptr_t)data, bytes};
    (void)semihost(SYS_WRITE, block);
}

void reset(void)
{
    static const char name[] = "outputs.bin";
    const uint32_t open[3] = {(uint32_t)(uintptr_t)name, OPEN_WRITE_BINARY, sizeof name - 1u};
#ifdef __ARM_FEATURE_MVE
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: vectors on */
    __asm volatile("dsb\n isb");
#endif
    const uint32_t file = semihost(SYS_OPEN, open);
    for (uint32_t i = 0; i < MODEL_COUNT; i++) {
        const model_t *model = &models[i];
        if (model->reset != 0) {
            model->reset();
        }
        for (uint32_t n = 0; n < INPUTS; n++) {
            model->run(model->inputs + (n * model->input_bytes), output, logits);
            save(file, output, model->output_bytes);
            save(file, logits, model->logit_count * sizeof logits[0]);
        }
    }
    (void)semihost(SYS_CLOSE, &file);
    (void)semihost(SYS_EXIT, (const void *)EXIT_DONE);
}
