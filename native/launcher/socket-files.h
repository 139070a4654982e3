#ifndef SOCKET_FILES_H
#define SOCKET_FILES_H

#include "plan.h"

/* Takes the sockets that the process began with. */
void keep_socket_files(const struct plan *plan);
/* Carries out one message of a helper. Returns false if the helper has ended. */
bool serve_socket_files(int helper_fd);
/* A helper has ended: removes the files of sockets whose shares it did not live to see serve. */
void drop_fresh_files(void);
/* Removes the files of all sockets. */
void remove_socket_files(void);

#endif
