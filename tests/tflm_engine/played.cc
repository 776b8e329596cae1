/* Behind tests/tflm_headers, on a board: the model's own C in the interpreter's place. No package installable
 * here has TFLM for a Cortex-M; this shows that a firmware is built around such a library and that it runs.
 */
#include "played_model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"

#include <assert.h>
#include <stdarg.h>

namespace tflite
{

/* As TFLM's context does, which every interpreter has: a library with messages always prints by this. */
static void report(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    VMicroPrintf(format, args);
    va_end(args);
}
static void (*const volatile reporting)(const char *format, ...) = report;

/* Its constructor runs before main, or nothing runs. */
struct Constructed {
    volatile uint32_t mark;
    Constructed() : mark(0x600Du)
    {
    }
};
static Constructed constructed;

/* As in TFLM: a vtable with a pure virtual function and a deleting destructor, which nobody calls. */
class Interface
{
  public:
    virtual ~Interface() = default;
    virtual bool good() const = 0;
};

class Good : public Interface
{
  public:
    bool good() const override
    {
        return constructed.mark == 0x600Du;
    }
};
static Good good;
static const Interface *volatile const shown = &good;

static int8_t in[PLAYED_INPUT_BYTES];
static int8_t out[PLAYED_OUTPUT_BYTES];
static TfLiteTensor input_tensor = {{0, nullptr}, {0.0f, 0}, {in}, nullptr, sizeof in};
static TfLiteTensor output_tensor = {{0, nullptr}, {0.0f, 0}, {out}, nullptr, sizeof out};

const Model *GetModel(const void *buffer)
{
    return static_cast<const Model *>(buffer);
}

namespace micro
{

/* Where ops begin and end, as TFLM tells it: the marks of the model's own C (PLAYED_LAYER) stand for them. Layers without
 * code are ops too. A release tells nobody. */
static MicroProfilerInterface *observer;
static unsigned int op; /* the next one to begin */

extern "C" void played_layer([[maybe_unused]] unsigned int layer)
{
#ifndef TF_LITE_STRIP_ERROR_STRINGS
    if (observer == nullptr) {
        return;
    }
    if (op > 0u) {
        observer->EndEvent(op);
    }
    for (; op < layer; op++) {
        (void)observer->BeginEvent("NOTHING");
        observer->EndEvent(op);
    }
    (void)observer->BeginEvent("AN_OP");
    op++;
#endif
}

MicroInterpreter::MicroInterpreter(const Model *, const MicroOpResolver &, uint8_t *arena, size_t arena_size,
                                   MicroResourceVariables *, MicroProfilerInterface *profiler, StandIn)
{
    observer = profiler;
    arena[0] = 1u;
    arena[arena_size - 1u] = 1u;
    state[0] = 0u;
}

TfLiteStatus MicroInterpreter::AllocateTensors()
{
    if (!shown->good()) {
        MicroPrintf("the constructor of %s did not run", "an object");
        return kTfLiteError;
    }
    return kTfLiteOk;
}

/* An input of 42 is one it fails on. */
TfLiteStatus MicroInterpreter::Invoke()
{
    assert(state[0] == 0u); /* as TFLM's kernels do, in all but a release */
    op = 0u;
    played_model_run(in, out, nullptr);
    if (op > 0u) {
        observer->EndEvent(op);
    }
    if (in[0] == 42) {
        reporting("%d is an input that it fails on", in[0]);
        return kTfLiteError;
    }
    return kTfLiteOk;
}

TfLiteTensor *MicroInterpreter::input(size_t)
{
    return &input_tensor;
}

TfLiteTensor *MicroInterpreter::output(size_t)
{
    return &output_tensor;
}

} // namespace micro
} // namespace tflite

#define TG_INT8(op)                                                                                          \
    tflite::micro::TFLMRegistration tflite::micro::Register_##op()                                           \
    {                                                                                                        \
        return {#op};                                                                                        \
    }
#define TG_ANY(op) TG_INT8(op)
#include "tensorflow/lite/micro/tflm_ops.inc"
