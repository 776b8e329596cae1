/* The id has a file of its own so that the compiler does not see its bytes where it is used. GCC copies an
 * array whose bytes it sees from a string literal, and that takes more flash if none of the bytes is zero:
 * the size of the image would depend on its id.
 */
#include "build_id.h"

#include "id.h"

const uint8_t build_id[CONFIG_BUILD_ID_BYTES] = CONFIG_BUILD_ID;
