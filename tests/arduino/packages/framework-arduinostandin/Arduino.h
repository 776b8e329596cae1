/* A stand-in of the Arduino API, as small as the port needs it. Like real cores it warns under our flags. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LOW 0
#define HIGH 1
#define OUTPUT 1
#define max(a, b) ((a) > (b) ? (a) : (b))

extern "C" {
extern uint32_t SystemCoreClock;
unsigned long micros(void);
void yield(void);
void pinMode(uint32_t pin, uint32_t mode);
void digitalWrite(uint32_t pin, uint32_t level);
}

static inline int unused_and_signed(long value)
{
    return value;
} /* -Wconversion says something of this */

typedef uint8_t byte;

class HardwareSerial
{
  public:
    void begin(unsigned long baud);
    int available();
    int read();
    size_t write(const uint8_t *bytes, size_t count);
    void flush();
    operator bool()
    {
        return true;
    }
};

extern HardwareSerial Serial;

void setup();
void loop();
