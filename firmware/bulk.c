#include "bulk.h"

#include "port/port.h"

#include <stdint.h>

/* The host writes the first and clears the second when it puts a request into the memory. */
volatile struct {
    uint32_t request_bytes;
    uint32_t answer_bytes;
} bulk_mailbox;

size_t bulk_request(void)
{
    port_mark_idle();
    const size_t bytes = bulk_mailbox.request_bytes;
    bulk_mailbox.request_bytes = 0u;
    return bytes;
}

void bulk_answer(size_t bytes)
{
    bulk_mailbox.answer_bytes = (uint32_t)bytes;
}
