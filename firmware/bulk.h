/* The bulk line: a host that reaches the memory through a debugger puts whole packets there and takes the answers
 * out. See docs/serial-protocol.md. */
#ifndef BULK_H
#define BULK_H

#include <stddef.h>

/* Where the host stops an idle board, fills `request_packet` and reads the last answer. Returns the bytes of the
 * packet, 0 without one. */
size_t bulk_request(void);

/* Tell the host that `answer_packet` holds an answer of so many bytes. */
void bulk_answer(size_t bytes);

#endif
