/* As much of Arduino's core as the example needs, on a host. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct {
    void begin(unsigned long)
    {
    }
    void print(const char *text)
    {
        std::fputs(text, stdout);
    }
    void println(unsigned value)
    {
        std::printf("%u\n", value);
    }
} Serial;

inline void delay(unsigned long)
{
    std::exit(0); /* the first round is enough */
}

void setup();
void loop();

int main()
{
    setup();
    for (;;) {
        loop();
    }
}

#endif
