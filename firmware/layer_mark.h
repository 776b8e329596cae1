/* TG_LAYER marks where a layer's code begins in tg_model_run. The compiler's command line includes this file
 * before every source. A mark costs the firmware nothing: it is an address and a number in a section that is
 * not loaded onto the board. Its name begins as those of debug information do, because every linker script leaves
 * those in place when it collects what is not used. A firmware that profiles itself calls its profiler there instead.
 */
#ifndef LAYER_MARK_H
#define LAYER_MARK_H

#ifdef TG_PROFILE
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
void profile_layer(uint32_t layer);
#ifdef __cplusplus
}
#endif
#define TG_LAYER(layer) profile_layer(layer)
#else
#define TG_LAYER(layer)                                                                                      \
    __asm__ volatile(                                                                                        \
        "1:\n\t.pushsection .debug_tritguard_layers,\"\",%%progbits\n\t.4byte 1b, %c0\n\t.popsection"        \
        :                                                                                                    \
        : "i"(layer)                                                                                         \
        : "memory")
#endif

#endif
