/* What the generated example and the firmware use of TFLM's header of this name: see
 * micro_mutable_op_resolver.h. What stands behind it is another matter: tests/tflm_engine. */
#ifndef TENSORFLOW_LITE_MICRO_MICRO_INTERPRETER_H_
#define TENSORFLOW_LITE_MICRO_MICRO_INTERPRETER_H_

#include <stddef.h>
#include <stdint.h>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"

namespace tflite
{

struct Model;
const Model *GetModel(const void *buffer);

/* Members as TFLM has them with TF_LITE_STATIC_MEMORY. */
struct TfLiteTensor {
    struct {
        int type;
        void *params;
    } quantization;
    struct {
        float scale;
        int32_t zero_point;
    } params;
    union {
        int8_t *int8;
        uint8_t *uint8;
        int16_t *i16;
        int32_t *i32;
        int64_t *i64;
        float *f;
        bool *b;
    } data;
    void *dims;
    size_t bytes;
};

namespace micro
{

enum class MemoryPlannerType { kGreedy, kLinear };

class MicroAllocator
{
  public:
    static MicroAllocator *Create(uint8_t *arena, size_t arena_size,
                                  MemoryPlannerType planner = MemoryPlannerType::kGreedy);
};

class MicroResourceVariables
{
  public:
    static MicroResourceVariables *Create(MicroAllocator *allocator, int count);
};

/* Keeps the names of the constructors apart from those of TFLM's own, which tests/tflm_engine/real.cc calls. */
struct StandIn {
};

class MicroInterpreter
{
  public:
    MicroInterpreter(const Model *model, const MicroOpResolver &ops, MicroAllocator *allocator,
                     MicroResourceVariables *variables, MicroProfilerInterface *profiler = nullptr,
                     StandIn = {});
    MicroInterpreter(const Model *model, const MicroOpResolver &ops, uint8_t *arena, size_t arena_size,
                     MicroResourceVariables *variables = nullptr, MicroProfilerInterface *profiler = nullptr,
                     StandIn = {});
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(size_t index);
    TfLiteTensor *output(size_t index);

  private:
    alignas(16) uint8_t state[2048];
};

} // namespace micro
} // namespace tflite

#endif
