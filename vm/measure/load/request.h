/* FUSE requests as the Linux driver cuts them: header, arguments, reply header, reply, and each page of data on its own. */
#ifndef REQUEST_H
#define REQUEST_H

#include <linux/fuse.h>
#include <stdint.h>

#include "ring.h"

#define MAX_DATA_PAGES 256

/* Which parts a request has. */
struct shape {
    uint32_t arg_bytes;
    uint32_t write_bytes; /* data that goes along */
    uint32_t reply_bytes;
    uint32_t read_bytes; /* room for data that comes back */
};

/* A request that is used again and again, one at a time. */
struct request {
    struct fuse_in_header *in;
    void *args;
    struct fuse_out_header *out;
    void *reply;
    struct vring_desc *table;
    unsigned desc_count;
    struct shape shape; /* that `table` is made for */
    struct ring *ring;
    void *owner; /* found again by the reply */
    void *page[MAX_DATA_PAGES];
    unsigned page_count;
};

/* Takes memory for the request. Its reply carries `owner`. */
void request_create(struct request *request, struct ring *ring, void *owner);

/* Sends the request. The arguments are at `args`; the caller chooses `unique`. */
void request_send(struct request *request, uint32_t opcode, uint64_t nodeid, const struct shape *shape);

/* Checks a reply: the used length, the id, and an error only in range. Returns the error. */
int request_check(const struct request *request, uint32_t used_bytes);

/* Bytes of data behind the header of a reply. */
uint32_t request_reply_bytes(const struct request *request);

/* FORGET, on the high priority queue, where it has no reply. */
void request_forget(struct ring *hiprio, uint64_t nodeid, uint64_t count);

#endif
