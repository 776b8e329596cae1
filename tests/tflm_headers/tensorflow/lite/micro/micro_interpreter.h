/* What the generated example uses of TFLM's header of this name: see micro_mutable_op_resolver.h. */
#ifndef TENSORFLOW_LITE_MICRO_MICRO_INTERPRETER_H_
#define TENSORFLOW_LITE_MICRO_MICRO_INTERPRETER_H_

#include <stddef.h>
#include <stdint.h>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace tflite
{

struct Model;
const Model *GetModel(const void *buffer);

struct TfLiteTensor {
    union {
        int8_t *int8;
    } data;
};

namespace micro
{

class MicroInterpreter
{
  public:
    MicroInterpreter(const Model *model, const MicroOpResolver &ops, uint8_t *arena, size_t arena_size);
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(size_t index);
    TfLiteTensor *output(size_t index);
};

} // namespace micro
} // namespace tflite

#endif
