/* Behind tests/tflm_headers, on a host: the interpreter inside the tflite-micro package, by its symbols'
 * names. Its op resolver has every op, whatever was added to the caller's. */
#include "tensorflow/lite/micro/micro_interpreter.h"

#include <string.h>

extern "C" {
void real_resolver(void *self) __asm__("_ZN6tflite17PythonOpsResolverC1Ev");
void real_constructor(
    void *self, const void *model, const void *ops, uint8_t *arena, size_t arena_size, void *resources,
    void *profiler,
    bool preserve) __asm__("_ZN6tflite5micro16MicroInterpreterC1EPKNS_5ModelERKNS0_15MicroOpResolverEPhmPNS0_"
                           "22MicroResourceVariablesEPNS0_22MicroProfilerInterfaceEb");
void real_constructor_of_variables(
    void *self, const void *model, const void *ops, void *allocator, void *resources,
    void *profiler) __asm__("_ZN6tflite5micro16MicroInterpreterC1EPKNS_5ModelERKNS0_15MicroOpResolverEPNS0_"
                            "14MicroAllocatorEPNS0_22MicroResourceVariablesEPNS0_22MicroProfilerInterfaceE");
}

namespace tflite
{

alignas(16) static uint8_t resolver[1 << 16];

const Model *GetModel(const void *buffer)
{
    uint32_t root;
    (void)memcpy(&root, buffer, sizeof root);
    return reinterpret_cast<const Model *>(static_cast<const uint8_t *>(buffer) + root);
}

namespace micro
{

MicroInterpreter::MicroInterpreter(const Model *model, const MicroOpResolver &, uint8_t *arena,
                                   size_t arena_size, MicroResourceVariables *variables,
                                   MicroProfilerInterface *profiler, StandIn)
{
    real_resolver(resolver);
    real_constructor(state, model, resolver, arena, arena_size, variables, profiler, false);
}

MicroInterpreter::MicroInterpreter(const Model *model, const MicroOpResolver &, MicroAllocator *allocator,
                                   MicroResourceVariables *variables, MicroProfilerInterface *profiler,
                                   StandIn)
{
    real_resolver(resolver);
    real_constructor_of_variables(state, model, resolver, allocator, variables, profiler);
}

} // namespace micro
} // namespace tflite

/* The package does not show its own to others. Hidden, lest its interpreter print by it. */
__attribute__((visibility("hidden"), weak)) void MicroPrintf(const char *, ...)
{
}

/* Registrations carry their names here and nothing else; hidden, lest the package's take their place. */
#define TG_INT8(op)                                                                                          \
    __attribute__((visibility("hidden"))) tflite::micro::TFLMRegistration tflite::micro::Register_##op()     \
    {                                                                                                        \
        return {#op};                                                                                        \
    }
#define TG_ANY(op) TG_INT8(op)
#include "tensorflow/lite/micro/tflm_ops.inc"
