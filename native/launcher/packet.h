/* Messages with a descriptor, over SOCK_SEQPACKET. */
#ifndef PACKET_H
#define PACKET_H

#include <stddef.h>
#include <sys/types.h>

#define MAX_PACKET_FDS 4

/* Returns sendmsg's result. The caller keeps the descriptors. */
ssize_t send_packet(int socket_fd, const void *bytes, size_t len_bytes, const int *fds, size_t fd_count);
/*
 * Reads one message and the descriptors that came with it, which the caller owns; the others are -1. The text ends with
 * a NUL. A message longer than `room` arrives as an empty one. Returns recvmsg's result.
 */
ssize_t receive_packet(int socket_fd, char *text, size_t room, int fds[MAX_PACKET_FDS]);

#endif
