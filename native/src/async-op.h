/* An asynchronous system call: carried out by io_uring if it can, else by a helper thread. */
#ifndef ASYNC_OP_H
#define ASYNC_OP_H

#include <stdint.h>
#include <sys/uio.h>

/* The kinds that io_uring can carry out come first. */
enum async_kind {
    ASYNC_READ,
    ASYNC_WRITE,
    ASYNC_FSYNC,
    ASYNC_FDATASYNC,
    ASYNC_FALLOCATE,
    ASYNC_COPY_RANGE,
    ASYNC_SYNCFS,
    /* A read of cached data, which keeps a processor busy and waits for nothing. */
    ASYNC_CACHED_READ,
    ASYNC_KINDS
};

struct async_op {
    enum async_kind kind;
    uint32_t token; /* comes back with the result */
    int fd;
    int32_t flags; /* RWF_* of transfers, the mode of fallocate */
    int64_t offset;
    int64_t len;
    int out_fd; /* ASYNC_COPY_RANGE: the destination */
    int64_t out_offset;
    /* Transfers: pieces of guest memory, which must stay mapped until the result has been taken. */
    int iov_count;
    const struct iovec *iov;
};

struct async_result {
    uint32_t token;
    int32_t result; /* bytes, 0, or -errno */
};

#endif
