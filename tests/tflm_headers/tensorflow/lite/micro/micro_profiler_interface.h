/* What TFLM's header of this name has; a library with messages tells such an object where ops begin and end. */
#ifndef TENSORFLOW_LITE_MICRO_MICRO_PROFILER_INTERFACE_H_
#define TENSORFLOW_LITE_MICRO_MICRO_PROFILER_INTERFACE_H_

#include <stdint.h>

namespace tflite
{
namespace micro
{

class MicroProfilerInterface
{
  public:
    virtual ~MicroProfilerInterface()
    {
    }
    virtual uint32_t BeginEvent(const char *tag) = 0;
    virtual void EndEvent(uint32_t event) = 0;
};

} // namespace micro
} // namespace tflite

#endif
