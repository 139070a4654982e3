/*
 * A guest's memory as the front-end shared it: regions of guest-physical addresses (gpa), each mapped once.
 *
 * Small integers name memories; they live in the addon instance of the thread that made them.
 */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared-file.h"

#define MEMORY_MAX_REGIONS 512
#define MEMORY_MAX_WATCHES 256

struct window;

struct region {
    uint64_t gpa;
    uint64_t size_bytes;
    struct shared_file file;
    struct window *windows; /* ArrayBuffers that JavaScript holds on this region */
};

struct guest_memory {
    struct region *regions[MEMORY_MAX_REGIONS];
    unsigned region_count;
    unsigned last; /* the region that served the last translation */
    /* The avail.idx words that a spin watches; NULL for a free slot. */
    const uint16_t *watches[MEMORY_MAX_WATCHES];
    unsigned watch_count;
};

/* Returns the memory that `value` names, or NULL with a RangeError pending. */
struct guest_memory *arg_memory(napi_env env, napi_value value);

/*
 * Returns the mapped address of `gpa`, and in *span_bytes how many bytes follow in the same region (at least 1).
 * Returns NULL if no region holds it.
 */
uint8_t *memory_translate(struct guest_memory *memory, uint64_t gpa, uint64_t *span_bytes);

#endif
