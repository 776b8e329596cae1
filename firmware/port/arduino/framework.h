/* The Arduino core's own headers are not written for our warnings; this line keeps them out of those. */
#ifndef FRAMEWORK_H
#define FRAMEWORK_H
#pragma GCC system_header
#include <Arduino.h>
#if defined(USE_TINYUSB)
#include <Adafruit_TinyUSB.h> /* the library that holds Serial; PlatformIO looks for includes in our sources only */
#endif
#endif
