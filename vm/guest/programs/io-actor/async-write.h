#pragma once

#include <stddef.h>

/* One write by an interface for asynchronous I/O: submitted, then waited for. Bytes written, or a negative errno. */
long aio_write_once(int fd, const void *bytes, size_t len, long offset);
long uring_write_once(int fd, const void *bytes, size_t len, long offset);
