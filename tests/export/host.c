/* Inputs from standard input, outputs to standard output. C and C++. */
#include PROGRAM_HEADER

#include <stdio.h>

int main(void)
{
    static int8_t input[INPUT_BYTES];
    static int8_t output[OUTPUT_BYTES];
    while (fread(input, 1, sizeof input, stdin) == sizeof input) {
        RUN(input, output, NULL);
        if (fwrite(output, 1, sizeof output, stdout) != sizeof output) {
            return 1;
        }
    }
    return 0;
}
