/* What generated code uses of TFLM's header of this name, and no more: no package installable here has the
 * real one. Same names and signatures; this resolver keeps the names of what is added, and refuses one op too
 * many and an op added twice, with a message, as the real one does. Registrations are in tflite::micro, the names in tflite,
 * as in TFLM since 2026. */
#ifndef TENSORFLOW_LITE_MICRO_MICRO_MUTABLE_OP_RESOLVER_H_
#define TENSORFLOW_LITE_MICRO_MICRO_MUTABLE_OP_RESOLVER_H_

#include "tensorflow/lite/micro/micro_log.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

#define TF_LITE_ENSURE_STATUS(a)                                                                             \
    do {                                                                                                     \
        const TfLiteStatus s = (a);                                                                          \
        if (s != kTfLiteOk) {                                                                                \
            return s;                                                                                        \
        }                                                                                                    \
    } while (false)

namespace tflite
{
namespace micro
{

struct TFLMRegistration {
    const char *name;
};

#define TG_INT8(op) TFLMRegistration Register_##op();
#define TG_ANY(op) TFLMRegistration Register_##op();
#include "tflm_ops.inc"
#undef TG_INT8
#undef TG_ANY

#define TG_INT8(op)                                                                                          \
    inline TFLMRegistration Register_##op##_INT8()                                                           \
    {                                                                                                        \
        return Register_##op();                                                                              \
    }
#define TG_ANY(op)
#include "tflm_ops.inc"
#undef TG_INT8
#undef TG_ANY

class MicroOpResolver
{
};

template <unsigned int tOpCount> class MicroMutableOpResolver : public MicroOpResolver
{
  public:
    const char *names[tOpCount] = {};
    unsigned int count = 0;

    TfLiteStatus AddAdd(const TFLMRegistration &r = Register_ADD())
    {
        return Add(r);
    }
    TfLiteStatus AddAssignVariable()
    {
        return Add(Register_ASSIGN_VARIABLE());
    }
    TfLiteStatus AddAveragePool2D(const TFLMRegistration &r = Register_AVERAGE_POOL_2D())
    {
        return Add(r);
    }
    TfLiteStatus AddCallOnce()
    {
        return Add(Register_CALL_ONCE());
    }
    TfLiteStatus AddConv2D(const TFLMRegistration &r = Register_CONV_2D())
    {
        return Add(r);
    }
    TfLiteStatus AddDecode()
    {
        return Add(Register_DECODE());
    }
    TfLiteStatus AddDepthwiseConv2D(const TFLMRegistration &r = Register_DEPTHWISE_CONV_2D())
    {
        return Add(r);
    }
    TfLiteStatus AddDequantize(const TFLMRegistration &r = Register_DEQUANTIZE())
    {
        return Add(r);
    }
    TfLiteStatus AddFullyConnected(const TFLMRegistration &r = Register_FULLY_CONNECTED())
    {
        return Add(r);
    }
    TfLiteStatus AddGreater(const TFLMRegistration &r = Register_GREATER())
    {
        return Add(r);
    }
    TfLiteStatus AddLogistic(const TFLMRegistration &r = Register_LOGISTIC())
    {
        return Add(r);
    }
    TfLiteStatus AddMaxPool2D(const TFLMRegistration &r = Register_MAX_POOL_2D())
    {
        return Add(r);
    }
    TfLiteStatus AddMean(const TFLMRegistration &r = Register_MEAN())
    {
        return Add(r);
    }
    TfLiteStatus AddPad(const TFLMRegistration &r = Register_PAD())
    {
        return Add(r);
    }
    TfLiteStatus AddQuantize(const TFLMRegistration &r = Register_QUANTIZE())
    {
        return Add(r);
    }
    TfLiteStatus AddReadVariable()
    {
        return Add(Register_READ_VARIABLE());
    }
    TfLiteStatus AddRelu(const TFLMRegistration &r = Register_RELU())
    {
        return Add(r);
    }
    TfLiteStatus AddReshape(const TFLMRegistration &r = Register_RESHAPE())
    {
        return Add(r);
    }
    TfLiteStatus AddSoftmax(const TFLMRegistration &r = Register_SOFTMAX())
    {
        return Add(r);
    }
    TfLiteStatus AddStridedSlice()
    {
        return Add(Register_STRIDED_SLICE());
    }
    TfLiteStatus AddTanh()
    {
        return Add(Register_TANH());
    }
    TfLiteStatus AddUnidirectionalSequenceLSTM()
    {
        return Add(Register_UNIDIRECTIONAL_SEQUENCE_LSTM());
    }
    TfLiteStatus AddVarHandle()
    {
        return Add(Register_VAR_HANDLE());
    }

  private:
    TfLiteStatus Add(const TFLMRegistration &r)
    {
        for (unsigned int i = 0; i < count; ++i) {
            if (names[i] == r.name) {
                MicroPrintf("%s was added before", r.name);
                return kTfLiteError;
            }
        }
        if (count >= tOpCount) {
            MicroPrintf("no room for %s beside %u others", r.name, tOpCount);
            return kTfLiteError;
        }
        names[count++] = r.name;
        return kTfLiteOk;
    }
};

} // namespace micro

using namespace micro;

} // namespace tflite

#endif
