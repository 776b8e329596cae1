/* Beside played.cc, in a library with messages, and in an object of its own as in TFLM: printing takes the C library's
 * vsnprintf, and that a heap, which a firmware does not have. */
#include "tensorflow/lite/micro/micro_log.h"

#include <stdio.h>

char printed[256];

void VMicroPrintf(const char *format, va_list args)
{
    (void)vsnprintf(printed, sizeof printed, format, args);
}

void MicroPrintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    VMicroPrintf(format, args);
    va_end(args);
}
