#include "packet.h"

#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * MAX_PACKET_FDS)];
};

ssize_t send_packet(int socket_fd, const void *bytes, size_t len_bytes, const int *fds, size_t fd_count)
{
    union control control;
    struct iovec iov = { (void *)bytes, len_bytes };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    memset(&control, 0, sizeof(control));
    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
    }
    return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

ssize_t receive_packet(int socket_fd, char *text, size_t room, int fds[MAX_PACKET_FDS])
{
    union control control;
    struct iovec iov = { text, room - 1 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)
    };
    const ssize_t got = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *const part = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    for (size_t n = 0; n < MAX_PACKET_FDS; n++)
        fds[n] = -1;
    /* In bounds: the room of `control` limits the descriptors to MAX_PACKET_FDS. */
    if (part != NULL && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(part), part->cmsg_len - CMSG_LEN(0));
    text[got > 0 ? got : 0] = '\0';
    /* A message cut short would mean something else. */
    if (got > 0 && (message.msg_flags & MSG_TRUNC) != 0)
        text[0] = '\0';
    return got;
}

size_t split_words(char *text, size_t len_bytes, char *words[MAX_WORDS])
{
    size_t count = 0;

    for (size_t at = 0; at < len_bytes; at += strlen(text + at) + 1) {
        if (count == MAX_WORDS - 1)
            return 0;
        words[count++] = text + at;
    }
    words[count] = NULL;
    return count;
}
