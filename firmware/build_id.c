/* In a file of its own, where no caller's compiler sees its bytes. GCC copies an array it can see from a
 * string literal, which takes more flash than the array where none of its bytes is zero: the image's size
 * would follow from its id.
 */
#include "build_id.h"

const uint8_t build_id[CONFIG_BUILD_ID_BYTES] = CONFIG_BUILD_ID;
