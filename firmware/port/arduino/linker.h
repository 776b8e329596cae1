/* Where the core's linker script puts static memory. */
#ifndef LINKER_H
#define LINKER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of data and zeroed memory in RAM; 0 if the script has none of the names that are known. */
uint32_t linker_static_bytes(void);

#ifdef __cplusplus
}
#endif

#endif
