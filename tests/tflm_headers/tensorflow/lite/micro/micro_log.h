/* What TFLM's header of this name has: a library prints messages or, as a release, has nothing to print with.
 * Whoever includes it has to be built as the library was. */
#ifndef TENSORFLOW_LITE_MICRO_MICRO_LOG_H_
#define TENSORFLOW_LITE_MICRO_MICRO_LOG_H_

#ifndef TF_LITE_STRIP_ERROR_STRINGS
#include <stdarg.h>
void MicroPrintf(const char *format, ...);
void VMicroPrintf(const char *format, va_list args);
#else
#define MicroPrintf(...) tflite::Unused(__VA_ARGS__)
#define VMicroPrintf(...) tflite::Unused(__VA_ARGS__)
#endif

namespace tflite
{

template <typename... Args> void Unused(Args &&...)
{
}

} // namespace tflite

#endif
