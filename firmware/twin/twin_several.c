/* Runs a model of several inputs or outputs, which are stored one after another here. */
#include "twin.h"

#include "tg_model.h"

static void run_one(const int8_t *input, int8_t *output, int32_t *logits)
{
    static const size_t in_sizes[] = TG_INPUT_SIZES;
    static const size_t out_sizes[] = TG_OUTPUT_SIZES;
    const int8_t *in[TG_INPUT_COUNT];
    int8_t *out[TG_OUTPUT_COUNT];
    for (size_t i = 0; i < TG_INPUT_COUNT; i++) {
        in[i] = input;
        input += in_sizes[i];
    }
    for (size_t i = 0; i < TG_OUTPUT_COUNT; i++) {
        out[i] = output;
        output += out_sizes[i];
    }
#if TG_INPUT_COUNT > 1 && TG_OUTPUT_COUNT > 1
    tg_model_run(in, out, logits);
#elif TG_INPUT_COUNT > 1
    tg_model_run(in, out[0], logits);
#else
    tg_model_run(in[0], out, logits);
#endif
}

void twin_run(size_t count, size_t frames, const twin_sizes_t *sizes, const int8_t *input, int8_t *output,
              int32_t *logits)
{
    twin_begin(sizes, count * frames);
    for (size_t i = 0; i < (count * frames); i++) {
        if ((i % frames) == 0u) {
            tg_model_reset();
        }
        run_one(input + (i * sizes->input), output + (i * sizes->output),
                (logits == NULL) ? NULL : (logits + (i * sizes->logits)));
    }
    twin_end(sizes);
}
