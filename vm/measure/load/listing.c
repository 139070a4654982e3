/* Whole listings of a large directory, with attributes: OPENDIR, READDIRPLUS until nothing more comes, RELEASEDIR. */
#include <fcntl.h>
#include <stdlib.h>

#include "fail.h"
#include "lane.h"

/* The size that Linux asks for. */
#define LISTING_BYTES 4096U

#define ENTRY_BYTES sizeof(struct fuse_direntplus)
/* fuse_dirent: padded to 8 bytes */
#define PADDED(len_bytes) (((len_bytes) + 7) & ~(size_t)7)

#define FORGET_LISTINGS 32

enum { OPENING, LISTING, CLOSING };

static void find_entries(struct lane *lane)
{
    lane->parent = call_lookup(lane, FUSE_ROOT_ID, "entries");
    /* Each listing counts a lookup for every entry again. Lookups beyond this room stay until the session ends. */
    lane->forgettable_room = FORGET_LISTINGS * place.entries;
    lane->forgettable = malloc(lane->forgettable_room * sizeof(*lane->forgettable));
    if (!lane->forgettable)
        fail_errno("node ids");
    lane->forgettable_count = 0;
}

static void send_opendir(struct lane *lane)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_open_in),
                                        .reply_bytes = sizeof(struct fuse_open_out) };

    lane->step = OPENING;
    lane->offset = 0;
    *(struct fuse_open_in *)lane->request.args = (struct fuse_open_in){ .flags = O_RDONLY | O_DIRECTORY };
    request_send(&lane->request, FUSE_OPENDIR, lane->parent, &shape);
}

static void send_readdirplus(struct lane *lane)
{
    const struct shape shape = { .arg_bytes = sizeof(struct fuse_read_in), .read_bytes = LISTING_BYTES };

    lane->step = LISTING;
    *(struct fuse_read_in *)lane->request.args =
        (struct fuse_read_in){ .fh = lane->handle, .offset = lane->offset, .size = LISTING_BYTES };
    request_send(&lane->request, FUSE_READDIRPLUS, lane->parent, &shape);
}

static void send_releasedir(struct lane *lane)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_release_in) };

    lane->step = CLOSING;
    *(struct fuse_release_in *)lane->request.args = (struct fuse_release_in){ .fh = lane->handle };
    request_send(&lane->request, FUSE_RELEASEDIR, lane->parent, &shape);
}

static void take_entries(struct lane *lane)
{
    const uint32_t end = request_reply_bytes(&lane->request);
    uint32_t at = 0;

    while (at + ENTRY_BYTES <= end) {
        const struct fuse_direntplus *entry = (const void *)((const char *)lane->request.page[0] + at);

        /* "." and ".." have no node id. */
        if (entry->entry_out.nodeid != 0)
            lane->tally->entries++;
        if (entry->entry_out.nodeid != 0 && lane->forgettable_count < lane->forgettable_room)
            lane->forgettable[lane->forgettable_count++] = entry->entry_out.nodeid;
        lane->offset = entry->dirent.off;
        at += (uint32_t)PADDED(ENTRY_BYTES + entry->dirent.namelen);
    }
}

static void forget_entries(struct lane *lane)
{
    for (unsigned n = 0; n < lane->forgettable_count; n++)
        request_forget(lane->hiprio, lane->forgettable[n], 1);
    lane->forgettable_count = 0;
}

static bool listed(struct lane *lane)
{
    switch (lane->step) {
    case OPENING:
        lane->handle = ((const struct fuse_open_out *)lane->request.reply)->fh;
        send_readdirplus(lane);
        return false;
    case LISTING:
        take_entries(lane);
        if (request_reply_bytes(&lane->request) > 0)
            send_readdirplus(lane);
        else
            send_releasedir(lane);
        return false;
    default:
        return true;
    }
}

static bool listed_and_forgotten(struct lane *lane)
{
    if (!listed(lane))
        return false;
    forget_entries(lane);
    return true;
}

static void clean_up(struct lane *lane)
{
    forget_entries(lane);
    request_forget(lane->hiprio, lane->parent, 1);
    free(lane->forgettable);
}

/* The guest knows no entry before, and forgets all after each listing. */
const struct workload readdirplus_workload = {
    .name = "readdirplus",
    .prepare = find_entries,
    .begin = send_opendir,
    .proceed = listed_and_forgotten,
    .clean_up = clean_up,
};

/* A guest that has all entries in its cache lists them again. */
const struct workload readdirplus_known_workload = {
    .name = "readdirplus-again",
    .prepare = find_entries,
    .begin = send_opendir,
    .proceed = listed,
    .clean_up = clean_up,
};
