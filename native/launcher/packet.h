/* Messages with a descriptor, over SOCK_SEQPACKET. */
#ifndef PACKET_H
#define PACKET_H

#include <stddef.h>
#include <sys/types.h>

#define MAX_PACKET_FDS 4
/* Room for the longest message: the words of a program. */
#define MAX_PACKET (128 * 1024)
#define MAX_WORDS 1024

/* Returns sendmsg's result. The caller keeps the descriptors. */
ssize_t send_packet(int socket_fd, const void *bytes, size_t len_bytes, const int *fds, size_t fd_count);
/*
 * Reads one message and the descriptors that came with it, which the caller owns; the others are -1. The text ends with
 * a NUL. A message longer than `room` arrives as an empty one. Returns recvmsg's result.
 */
ssize_t receive_packet(int socket_fd, char *text, size_t room, int fds[MAX_PACKET_FDS]);
/* Splits "WORD\0WORD\0" into `words`, which NULL ends. Returns how many they are; 0 if there are too many. */
size_t split_words(char *text, size_t len_bytes, char *words[MAX_WORDS]);

#endif
