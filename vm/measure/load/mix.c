/* A mixed workload: each operation is one of another workload, chosen at random. */
#include "fail.h"
#include "lane.h"

static const struct workload *const parts[] = {
    &getattr_workload,      &lookup_workload,      &open_workload,   &create_workload,
    &read_random_workload,  &write_random_workload, &read_workload,
};
enum { PARTS = sizeof(parts) / sizeof(*parts) };

/* The files that each part has found and opened, by lane, because the parts share a lane's fields. */
static struct {
    uint64_t parent, nodeid, handle, offset;
} kept[64][PARTS];
static unsigned chosen[64];

static void keep(struct lane *lane, unsigned part)
{
    kept[lane->number][part].parent = lane->parent;
    kept[lane->number][part].nodeid = lane->nodeid;
    kept[lane->number][part].handle = lane->handle;
    kept[lane->number][part].offset = lane->offset;
}

static void take_up(struct lane *lane, unsigned part)
{
    lane->parent = kept[lane->number][part].parent;
    lane->nodeid = kept[lane->number][part].nodeid;
    lane->handle = kept[lane->number][part].handle;
    lane->offset = kept[lane->number][part].offset;
}

static void prepare(struct lane *lane)
{
    if (lane->number >= sizeof(kept) / sizeof(*kept))
        fail("mix: at most 64 at a time");
    for (unsigned part = 0; part < PARTS; part++) {
        parts[part]->prepare(lane);
        keep(lane, part);
    }
}

static void begin(struct lane *lane)
{
    const unsigned part = (unsigned)lane_random(lane, PARTS);

    chosen[lane->number] = part;
    take_up(lane, part);
    parts[part]->begin(lane);
}

static bool proceed(struct lane *lane)
{
    const unsigned part = chosen[lane->number];
    const bool done = !parts[part]->proceed || parts[part]->proceed(lane);

    if (done)
        keep(lane, part);
    return done;
}

static void clean_up(struct lane *lane)
{
    for (unsigned part = 0; part < PARTS; part++) {
        take_up(lane, part);
        parts[part]->clean_up(lane);
    }
}

const struct workload mix_workload = {
    .name = "mix",
    .prepare = prepare,
    .begin = begin,
    .proceed = proceed,
    .clean_up = clean_up,
};
