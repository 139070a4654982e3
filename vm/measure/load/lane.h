/* A lane: one process of the guest that does one operation after another, each made of one or more requests. */
#ifndef LANE_H
#define LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "request.h"

struct lane;

/* A workload that a lane repeats. */
struct workload {
    const char *name;
    /* Runs once before the measurement: looks up and opens files, by `call`. */
    void (*prepare)(struct lane *lane);
    /* Sends the first request of an operation. */
    void (*begin)(struct lane *lane);
    /* Takes a reply and sends the next request. Returns true if the operation is done. NULL: one reply ends it. */
    bool (*proceed)(struct lane *lane);
    /* Runs once after the measurement. */
    void (*clean_up)(struct lane *lane);
    /* True if each operation moves lane->bytes. */
    bool moves_data;
};

struct tally {
    struct histogram latency;
    uint64_t errors;
    int last_error;
    uint64_t entries; /* entries listed so far */
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
    uint64_t *forgettable; /* node ids that a listing has looked up */
    unsigned forgettable_count, forgettable_room;
};

/* The shared directory on the host, and its data file's size. */
struct place {
    const char *host_dir;
    uint64_t data_bytes;
    unsigned entries;
};
extern struct place place;

/* Sends a request and waits for its reply. Fails the program on an error. */
void call(struct lane *lane, uint32_t opcode, uint64_t nodeid, const struct shape *shape);

/* Returns the node of a name in a directory, with one lookup counted. Uses `call`. */
uint64_t call_lookup(struct lane *lane, uint64_t parent, const char *name);

/* Opens a node by `call`, and sets lane->handle. */
void call_open(struct lane *lane, uint64_t nodeid, uint32_t flags);
void call_release(struct lane *lane, uint64_t nodeid);

/* Writes a name, or an argument struct with a name behind it, to `args`. Returns the bytes of both. */
uint32_t put_name(void *args, uint32_t struct_bytes, const char *name);

/* Returns a random number below `end`. */
uint64_t lane_random(struct lane *lane, uint64_t end);

const struct workload *find_workload(const char *name);

extern const struct workload getattr_workload, lookup_workload, lookup_known_workload, open_workload, create_workload, open_many_workload;
extern const struct workload readdirplus_workload, readdirplus_known_workload;
extern const struct workload read_workload, write_workload, read_random_workload, write_random_workload;
extern const struct workload read_cold_workload, read_direct_workload, write_direct_workload, fsync_workload;
extern const struct workload mix_workload;

#endif
