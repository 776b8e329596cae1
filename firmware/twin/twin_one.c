/* Runs a model of one input and one output. It knows nothing else of the model, so it is compiled once for all. */
#include "twin.h"

void tg_model_run(const int8_t *input, int8_t *output, int32_t *logits);

void twin_run(size_t count, size_t frames, const twin_sizes_t *sizes, const int8_t *input, int8_t *output,
              int32_t *logits)
{
    twin_begin(sizes, count * frames);
    for (size_t i = 0; i < (count * frames); i++) {
        if ((i % frames) == 0u) {
            tg_model_reset();
        }
        tg_model_run(input + (i * sizes->input), output + (i * sizes->output),
                     (logits == NULL) ? NULL : (logits + (i * sizes->logits)));
    }
    twin_end(sizes);
}
