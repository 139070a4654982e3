#ifndef SOCKET_FILES_H
#define SOCKET_FILES_H

#include "plan.h"

/* Takes the sockets that the process began with. */
void keep_socket_files(const struct plan *plan);
/* Carries out one message of a helper. Takes over `fd`, which came with it, or -1. Returns 0 or a negative errno. */
int serve_socket_files(const char *text, int fd);
/* A helper has ended: removes the files of sockets whose shares it did not live to see serve. */
void drop_fresh_files(void);
/* Removes the files of all sockets. */
void remove_socket_files(void);

#endif
