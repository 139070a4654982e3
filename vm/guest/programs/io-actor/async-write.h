#pragma once

#include <stddef.h>

/* Submits one write by an interface for asynchronous I/O and waits for it. Returns bytes written, or a negative
 * errno. */
long aio_write_once(int fd, const void *bytes, size_t len, long offset);
long uring_write_once(int fd, const void *bytes, size_t len, long offset);
