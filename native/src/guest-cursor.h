/*
 * A walk over bytes of guest memory, given as segments of a descriptor chain.
 *
 * Segments arrive as a Float64Array of pairs [gpa, lenBytes]. The guest chose them: each is translated and bounded
 * here, whatever TypeScript has checked before. A segment may cross regions.
 */
#ifndef GUEST_CURSOR_H
#define GUEST_CURSOR_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "guest-memory.h"

/* Reads a Float64Array that holds at least `end` segments. */
bool arg_segments(napi_env env, napi_value value, uint32_t end, const double **segments);

/* Reads segment n. Returns false for numbers that are no guest address or no length. */
bool segment_at(const double *segments, uint32_t n, uint64_t *gpa, uint64_t *len_bytes);

/* Walks the bytes [skip, skip + remaining) of segments [next, end). */
struct cursor {
    struct guest_memory *memory;
    const double *segments;
    uint32_t next;
    uint32_t end;
    uint64_t skip_bytes;
    uint64_t remaining_bytes;
};

/* argv: memory, segments, firstSegment, endSegment, skipBytes, lenBytes */
#define CURSOR_ARGS 6

bool arg_cursor(napi_env env, const napi_value *argv, struct cursor *cursor);

/*
 * Finds the next piece of guest memory that is contiguous in our mapping, at most remaining_bytes long. Returns 1
 * with *out set, 0 at the end of the segments or of the bytes, -EFAULT outside guest memory.
 */
int cursor_next(struct cursor *cursor, struct iovec *out);

/*
 * Fills iov with up to IOV_MAX pieces. Joins neighbours: fewer, larger pieces cost the kernel less. Returns their
 * number, or -EFAULT.
 */
int cursor_fill(struct cursor *cursor, struct iovec *iov, uint64_t *total_bytes);

#endif
