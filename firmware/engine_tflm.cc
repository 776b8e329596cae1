/* The engine that runs TensorFlow Lite Micro's interpreter, as the user built it. */
#include "engine.h"

extern "C" {
#include "commands.h"
}

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

/* The arrays that 'tritguard convert --to tflm' writes: namespace tflm_model, TFLM_MODEL_DATA,
 * TFLM_MODEL_SHA256, TFLM_MODEL_VARIABLES, TFLM_MODEL_LAYERS, tflm_input,
 * tflm_output. */
#include "tflm_model.h"

#if TFLM_MODEL_VARIABLES > 0
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#endif

#ifdef TG_PROFILE
#include "tensorflow/lite/micro/micro_profiler_interface.h"

extern "C" {
#include "profile.h"
}
#endif

/* Releases of TFLM declare names in different namespaces: the global one, tflite, tflite::micro. */
namespace tflite
{
namespace micro
{
}
using namespace micro;
} // namespace tflite
using namespace tflite;

/* A library with messages prints them by the C library's printf, which would bring a heap; nobody reads them here. These
 * stand in for its own, and not for those of a library built without messages, where they are macros. */
#ifndef MicroPrintf
__attribute__((weak)) void MicroPrintf(const char *, ...)
{
}
#endif

#ifndef VMicroPrintf
__attribute__((weak)) void VMicroPrintf(const char *, va_list)
{
}
#endif

/* Why the model does not run; engine_run returns it. */
enum : uint32_t { RUNS, OPS_NOT_REGISTERED, TENSORS_NOT_ALLOCATED, OTHER_SIZES, INVOKE_FAILED };

struct place_t {
    void *memory;
};

/* Creates objects in static memory: their constructors run in engine_start, their destructors never do. */
inline void *operator new(size_t, place_t place) noexcept
{
    return place.memory;
}

/* Vtables and static objects refer to these. Those of the C++ library would bring a heap and the code that
 * prints uncaught exceptions, and some are in start-up files that this firmware does not link. Here nothing
 * is ever on a heap, and nothing is ever destroyed. */
void operator delete(void *) noexcept
{
}

void operator delete(void *, size_t) noexcept
{
}

extern "C" {
__attribute__((weak)) void *__dso_handle = nullptr;

__attribute__((weak)) int __aeabi_atexit(void *, void (*)(void *), void *)
{
    return 0;
}

[[noreturn]] void __cxa_pure_virtual(void)
{
    abort();
}

/* What a library that is no release asserts. The C library's own prints it by stdio, which would bring a heap as well. */
[[noreturn]] __attribute__((weak)) void __assert_func(const char *, int, const char *, const char *)
{
    abort();
}
}

/* The size report finds the arena by this symbol. */
alignas(16) static uint8_t arena[tflm_model::kArenaBytes] __asm__("tg_arena");
alignas(tflm_model::OpResolver) static uint8_t resolver_memory[sizeof(tflm_model::OpResolver)];
alignas(MicroInterpreter) static uint8_t interpreter_memory[sizeof(MicroInterpreter)];

/* The interpreter has its tensors where its own planner puts them, and the input is copied there. */
alignas(4) static uint8_t packet[REQUEST_PACKET_MAX];
const frame_room_t engine_room = {packet, sizeof packet};

static const uint8_t model_sha256[32] = TFLM_MODEL_SHA256;
static MicroInterpreter *interpreter;
static uint32_t failure = OPS_NOT_REGISTERED;

#ifdef TG_PROFILE
/* TFLM tells its profiler where each op begins and ends, those of subgraphs between the two marks of the op that calls
 * them. It keeps the ops' order, and there is an element for each op of the model: 0 for what belongs to no layer, 1 + i
 * for layer i. */
static const uint16_t layers[] = TFLM_MODEL_LAYERS;

class LayerProfiler : public MicroProfilerInterface
{
  public:
    void begin_inference()
    {
        op = 0u;
        depth = 0u;
    }

    uint32_t BeginEvent(const char *) override
    {
        if ((depth == 0u) && (op < (sizeof layers / sizeof layers[0]))) {
            if (layers[op] != 0u) {
                profile_layer(layers[op] - 1u);
            }
            op++;
        }
        depth++;
        return 0u;
    }

    void EndEvent(uint32_t) override
    {
        depth--;
        if (depth == 0u) {
            profile_outside();
        }
    }

  private:
    uint32_t op = 0u;
    uint32_t depth = 0u;
};

alignas(LayerProfiler) static uint8_t profiler_memory[sizeof(LayerProfiler)];
static LayerProfiler *profiler;
#define IF_PROFILED(...) , __VA_ARGS__
#else
#define IF_PROFILED(...)
#endif

/* From steps to the elements of a model's input, and from those of its output to steps. A uint8 is its step moved by 128; a
 * float32 is the value that the step stands for, which the model's own QUANTIZE turns into the step again. */
template <typename Edge, typename T> static void enter(T *to, const T *from, size_t count)
{
    (void)memcpy(to, from, count * sizeof(T));
}

template <typename Edge> static void enter(uint8_t *to, const int8_t *from, size_t count)
{
    for (size_t i = 0u; i < count; i++) {
        to[i] = static_cast<uint8_t>(static_cast<uint8_t>(from[i]) ^ 0x80u);
    }
}

template <typename Edge, typename T> static void enter(float *to, const T *from, size_t count)
{
    for (size_t i = 0u; i < count; i++) {
        to[i] = Edge::scale * static_cast<float>(from[i] - Edge::zero_point);
    }
}

template <typename Edge, typename T> static void leave(T *to, const T *from, size_t count)
{
    (void)memcpy(to, from, count * sizeof(T));
}

template <typename Edge> static void leave(int8_t *to, const uint8_t *from, size_t count)
{
    for (size_t i = 0u; i < count; i++) {
        to[i] = static_cast<int8_t>(from[i] ^ 0x80u);
    }
}

template <typename Edge, typename T> static void leave(T *to, const float *from, size_t count)
{
    for (size_t i = 0u; i < count; i++) {
        const float steps = from[i] / Edge::scale;
        to[i] =
            static_cast<T>(static_cast<int32_t>(steps + ((steps < 0.0f) ? -0.5f : 0.5f)) + Edge::zero_point);
    }
}

constexpr size_t INPUT_STEPS = CONFIG_INPUT_BYTES / sizeof(tflm_input::step);
constexpr size_t OUTPUT_STEPS = CONFIG_OUTPUT_BYTES / sizeof(tflm_output::step);

static uint32_t start(void)
{
#ifdef TG_PROFILE
    profiler = new (place_t{profiler_memory}) LayerProfiler;
#endif
    auto *const resolver = new (place_t{resolver_memory}) tflm_model::OpResolver;
    if (tflm_model::RegisterOps(*resolver) != kTfLiteOk) {
        return OPS_NOT_REGISTERED;
    }
#if TFLM_MODEL_VARIABLES > 0
    MicroAllocator *const allocator = MicroAllocator::Create(arena, sizeof arena);
    MicroResourceVariables *const variables = MicroResourceVariables::Create(allocator, TFLM_MODEL_VARIABLES);
    interpreter = new (place_t{interpreter_memory})
        MicroInterpreter(GetModel(TFLM_MODEL_DATA), *resolver, allocator, variables IF_PROFILED(profiler));
#else
    interpreter = new (place_t{interpreter_memory}) MicroInterpreter(
        GetModel(TFLM_MODEL_DATA), *resolver, arena, sizeof arena IF_PROFILED(nullptr, profiler));
#endif
    if (interpreter->AllocateTensors() != kTfLiteOk) {
        return TENSORS_NOT_ALLOCATED;
    }
    const bool sizes_fit = (interpreter->input(0)->bytes == (INPUT_STEPS * sizeof(tflm_input::element))) &&
                           (interpreter->output(0)->bytes == (OUTPUT_STEPS * sizeof(tflm_output::element)));
    return sizes_fit ? RUNS : OTHER_SIZES;
}

const char *engine_name(void)
{
    return "tflm";
}

const uint8_t *engine_model_sha256(void)
{
    return model_sha256;
}

uint32_t engine_arena_bytes(void)
{
    return sizeof arena;
}

void engine_start(void)
{
    failure = start();
}

/* The interpreter's own reset does not run the subgraph that sets the variables. */
void engine_reset(void)
{
    failure = start();
}

uint32_t engine_run(const int8_t *input, int8_t *output, int32_t *)
{
    if (failure != RUNS) {
        return failure;
    }
    void *const in = interpreter->input(0)->data.int8;
    const void *const steps_in = input;
    enter<tflm_input>(static_cast<tflm_input::element *>(in), static_cast<const tflm_input::step *>(steps_in),
                      INPUT_STEPS);
#ifdef TG_PROFILE
    profiler->begin_inference();
#endif
    if (interpreter->Invoke() != kTfLiteOk) {
        return INVOKE_FAILED;
    }
    const void *const out = interpreter->output(0)->data.int8;
    void *const steps_out = output;
    leave<tflm_output>(static_cast<tflm_output::step *>(steps_out),
                       static_cast<const tflm_output::element *>(out), OUTPUT_STEPS);
    return RUNS;
}
