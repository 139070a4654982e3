#include "request.h"

#include <pthread.h>
#include <string.h>

#include "fail.h"
#include "ram.h"

/* Offsets of the small parts within a request's page. */
enum { IN_AT = 0, ARGS_AT = 64, OUT_AT = 1024, REPLY_AT = 1088 };

void request_create(struct request *request, struct ring *ring, void *owner)
{
    uint8_t *page = ram_take(PAGE_BYTES);

    memset(request, 0, sizeof(*request));
    request->in = (void *)(page + IN_AT);
    request->args = page + ARGS_AT;
    request->out = (void *)(page + OUT_AT);
    request->reply = page + REPLY_AT;
    request->table = ram_take((4 + MAX_DATA_PAGES) * sizeof(*request->table));
    request->ring = ring;
    request->owner = owner;
}

static void add_part(struct request *request, const void *at, uint32_t len_bytes, unsigned flags)
{
    if (len_bytes == 0)
        return;
    request->desc_count++;
    request->table[request->desc_count - 1] = (struct vring_desc){
        .addr = ram_gpa(at),
        .len = len_bytes,
        .flags = (uint16_t)(flags | VRING_DESC_F_NEXT),
        .next = (uint16_t)request->desc_count,
    };
}

static void add_pages(struct request *request, uint32_t len_bytes, unsigned flags)
{
    const unsigned count = (len_bytes + PAGE_BYTES - 1) / PAGE_BYTES;

    while (request->page_count < count)
        request->page[request->page_count++] = ram_take_page();
    for (unsigned n = 0; n < count; n++, len_bytes -= PAGE_BYTES)
        add_part(request, request->page[n], len_bytes < PAGE_BYTES ? len_bytes : PAGE_BYTES, flags);
}

/* The table stays unchanged while requests have the same shape. */
static void lay_out(struct request *request, const struct shape *shape)
{
    if (request->desc_count > 0 && memcmp(&request->shape, shape, sizeof(*shape)) == 0)
        return;
    request->shape = *shape;
    request->desc_count = 0;
    add_part(request, request->in, sizeof(*request->in), 0);
    add_part(request, request->args, shape->arg_bytes, 0);
    add_pages(request, shape->write_bytes, 0);
    add_part(request, request->out, sizeof(*request->out), VRING_DESC_F_WRITE);
    add_part(request, request->reply, shape->reply_bytes, VRING_DESC_F_WRITE);
    add_pages(request, shape->read_bytes, VRING_DESC_F_WRITE);
    request->table[request->desc_count - 1].flags &= (uint16_t)~VRING_DESC_F_NEXT;
}

void request_send(struct request *request, uint32_t opcode, uint64_t nodeid, const struct shape *shape)
{
    lay_out(request, shape);
    *request->in = (struct fuse_in_header){
        .len = (uint32_t)sizeof(*request->in) + shape->arg_bytes + shape->write_bytes,
        .opcode = opcode,
        .unique = request->ring->next_unique += 2,
        .nodeid = nodeid,
        .pid = 1,
    };
    ring_add(request->ring, request->table, request->desc_count, request->owner);
    ring_kick(request->ring);
}

int request_check(const struct request *request, uint32_t used_bytes)
{
    const struct fuse_out_header *out = request->out;

    if (out->unique != request->in->unique || out->len != used_bytes || used_bytes < sizeof(*out))
        fail("opcode %u: reply of %u bytes to request %llu, used length %u", request->in->opcode, out->len,
             (unsigned long long)out->unique, used_bytes);
    return out->error;
}

uint32_t request_reply_bytes(const struct request *request)
{
    return request->out->len - (uint32_t)sizeof(*request->out);
}

struct forget {
    struct fuse_in_header header;
    struct fuse_forget_in args;
};

/* All threads send FORGETs on one queue, one thread at a time. */
void request_forget(struct ring *hiprio, uint64_t nodeid, uint64_t count)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct forget *forgets;
    struct vring_desc desc = { .len = sizeof(*forgets) };
    struct forget *forget;
    uint32_t used_bytes;

    pthread_mutex_lock(&lock);
    if (!forgets)
        forgets = ram_take(hiprio->size * sizeof(*forgets));
    while (ring_take(hiprio, &used_bytes) || hiprio->free_count == 0)
        ;
    /* A buffer is in use as long as its head: there is one for each head. */
    forget = &forgets[hiprio->free_head];
    forget->header = (struct fuse_in_header){
        .len = sizeof(*forget),
        .opcode = FUSE_FORGET,
        .unique = hiprio->next_unique += 2,
        .nodeid = nodeid,
    };
    forget->args.nlookup = count;
    desc.addr = ram_gpa(forget);
    ring_add(hiprio, &desc, 1, forget);
    ring_kick(hiprio);
    pthread_mutex_unlock(&lock);
}
