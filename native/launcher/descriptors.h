#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include <stddef.h>

/*
 * Closes every descriptor but standard input, output, error, and the `count` in `kept`, which it sorts; -1 stands for
 * none. A copy of a listening socket in another process would keep it open after the program has closed it.
 */
void close_all_but(int *kept, size_t count);

/* Puts a descriptor's number into the environment of the program that this process is about to become. */
void tell_descriptor(const char *variable, int fd);

#endif
