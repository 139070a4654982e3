/* A lane: one process of the guest that does one operation after another, each made of one or more requests. */
#ifndef LANE_H
#define LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "request.h"

struct lane;

/* What a lane does again and again. */
struct workload {
    const char *name;
    /* Once before it is measured: looks up and opens what it works on, by `call`. */
    void (*prepare)(struct lane *lane);
    /* Sends the first request of an operation. */
    void (*begin)(struct lane *lane);
    /* Takes a reply, and sends the next request. True: the operation is done. NULL: it always is. */
    bool (*proceed)(struct lane *lane);
    /* Once after it is measured. */
    void (*clean_up)(struct lane *lane);
    /* Each operation moves lane->bytes. */
    bool moves_data;
};

struct tally {
    struct histogram latency;
    uint64_t errors;
    int last_error;
    uint64_t entries; /* that were listed */
};

struct lane {
    const struct workload *workload;
    struct tally *tally;
    struct request request;
    struct ring *hiprio;
    unsigned number;
    unsigned count; /* lanes of the same workload */
    uint32_t bytes;
    unsigned step;
    uint64_t parent;
    uint64_t nodeid;
    uint64_t handle;
    uint64_t offset;
    uint64_t random;
    uint64_t begun_ns;
    uint64_t *forgettable; /* node ids that a listing has counted */
    unsigned forgettable_count, forgettable_room;
};

/* The directory on the host that is shared, and its data file's size. */
struct place {
    const char *host_dir;
    uint64_t data_bytes;
    unsigned entries;
};
extern struct place place;

/* Sends a request and waits for its reply. Fails the program on an error. */
void call(struct lane *lane, uint32_t opcode, uint64_t nodeid, const struct shape *shape);

/* By `call`: the node of a name in a directory, with one lookup counted. */
uint64_t call_lookup(struct lane *lane, uint64_t parent, const char *name);

/* By `call`: opens a node, and sets lane->handle. */
void call_open(struct lane *lane, uint64_t nodeid, uint32_t flags);
void call_release(struct lane *lane, uint64_t nodeid);

/* Puts one name or argument struct with a name behind it at `args`. Returns the bytes of both. */
uint32_t put_name(void *args, uint32_t struct_bytes, const char *name);

/* A number below `end`. */
uint64_t lane_random(struct lane *lane, uint64_t end);

const struct workload *find_workload(const char *name);

extern const struct workload getattr_workload, lookup_workload, lookup_known_workload, open_workload, create_workload, open_many_workload;
extern const struct workload readdirplus_workload, readdirplus_known_workload;
extern const struct workload read_workload, write_workload, read_random_workload, write_random_workload;
extern const struct workload read_cold_workload, read_direct_workload, write_direct_workload, fsync_workload;
extern const struct workload mix_workload;

#endif
