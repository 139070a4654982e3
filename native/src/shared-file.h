/* Mappings of files that a front-end shares, and may truncate at any time. */
#ifndef SHARED_FILE_H
#define SHARED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shared_file {
    uint8_t *bytes; /* where the wanted offset is mapped; NULL while nothing is mapped */
    void *mapping;  /* what mmap gave: `bytes` minus what the file offset lacks to a page */
    size_t mapping_bytes;
    bool is_lost; /* the front-end has truncated it */
    struct shared_file *next;
};

/*
 * Maps size_bytes of fd from offset_bytes on, to read and write, with the given flags of mmap beside MAP_SHARED. Returns 0
 * or -errno: -EFBIG if the file ends before.
 *
 * Unmap it on the thread that mapped it; that thread alone touches it, though others may have the kernel do so.
 */
int64_t shared_file_map(struct shared_file *file, int fd, uint64_t offset_bytes, uint64_t size_bytes, int flags);
void shared_file_unmap(struct shared_file *file);

#endif
