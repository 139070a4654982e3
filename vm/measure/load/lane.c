#include "lane.h"

#include <poll.h>
#include <string.h>

#include "fail.h"

struct place place;

void call(struct lane *lane, uint32_t opcode, uint64_t nodeid, const struct shape *shape)
{
    struct request *request = &lane->request;
    uint32_t used_bytes;
    int error;

    request_send(request, opcode, nodeid, shape);
    while (!ring_take(request->ring, &used_bytes))
        poll(NULL, 0, 1);
    error = request_check(request, used_bytes);
    if (error < 0)
        fail("%s: opcode %u: %s", lane->workload->name, opcode, strerror(-error));
}

uint32_t put_name(void *args, uint32_t struct_bytes, const char *name)
{
    const uint32_t name_bytes = (uint32_t)strlen(name) + 1;

    memcpy((char *)args + struct_bytes, name, name_bytes);
    return struct_bytes + name_bytes;
}

uint64_t call_lookup(struct lane *lane, uint64_t parent, const char *name)
{
    const struct shape shape = { .arg_bytes = put_name(lane->request.args, 0, name),
                                 .reply_bytes = sizeof(struct fuse_entry_out) };

    call(lane, FUSE_LOOKUP, parent, &shape);
    return ((struct fuse_entry_out *)lane->request.reply)->nodeid;
}

void call_open(struct lane *lane, uint64_t nodeid, uint32_t flags)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_open_in),
                                        .reply_bytes = sizeof(struct fuse_open_out) };

    *(struct fuse_open_in *)lane->request.args = (struct fuse_open_in){ .flags = flags };
    call(lane, FUSE_OPEN, nodeid, &shape);
    lane->handle = ((struct fuse_open_out *)lane->request.reply)->fh;
}

void call_release(struct lane *lane, uint64_t nodeid)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_release_in) };

    *(struct fuse_release_in *)lane->request.args = (struct fuse_release_in){ .fh = lane->handle };
    call(lane, FUSE_RELEASE, nodeid, &shape);
}

uint64_t lane_random(struct lane *lane, uint64_t end)
{
    lane->random = lane->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint64_t)(((unsigned __int128)(lane->random ^ lane->random >> 33) * end) >> 64);
}
