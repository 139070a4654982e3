#pragma once

#include <stddef.h>

/* Submits one write by an interface for asynchronous I/O and waits for it. Returns bytes written, or a negative
 * errno. */
long aio_write_once(int fd, const void *bytes, size_t len, long offset);
/* The same for one read. */
long aio_read_once(int fd, void *bytes, size_t len, long offset);
long uring_write_once(int fd, const void *bytes, size_t len, long offset);

/* Submits `count` writes of the same bytes together, one behind the other, and waits for all. Returns how many were written
 * in full, or a negative errno. */
long aio_write_many(int fd, const void *bytes, size_t len, int count);
