/* Unix stream sockets that carry file descriptors. Every descriptor that arrives is close-on-exec. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* The kernel's SCM_MAX_FD: no message carries more, so no message is cut short and loses descriptors. */
#define MAX_FDS 253

static bool arg_address(napi_env env, napi_value value, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    return arg_string(env, value, address->sun_path, sizeof(address->sun_path));
}

static napi_value close_with_errno(napi_env env, int fd)
{
    const int error = errno;

    close(fd);
    return ret_int(env, -error);
}

/* unixListen(path, mode): fd; the socket file gets exactly `mode` less the umask */
static napi_value unix_listen(napi_env env, napi_callback_info info)
{
    struct sockaddr_un address;
    napi_value argv[2];
    uint32_t mode;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_address(env, argv[0], &address) || !arg_u32(env, argv[1], &mode))
        return NULL;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ret_errno(env, -1);
    /* bind gives the file the mode of the unbound socket, so nobody can connect in between. */
    if (fchmod(fd, mode & 0777) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
        return close_with_errno(env, fd);
    return ret_int(env, fd);
}

/* tcpListen(address, port): fd; the address is a numeric one of IPv4 or IPv6 */
static napi_value tcp_listen(napi_env env, napi_callback_info info)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t address_bytes;
    char text[INET6_ADDRSTRLEN];
    napi_value argv[2];
    uint32_t port;
    int fd, on = 1;

    if (!args_get(env, info, argv, 2) || !arg_string(env, argv[0], text, sizeof(text)) || !arg_u32(env, argv[1], &port))
        return NULL;
    memset(&address, 0, sizeof(address));
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons((uint16_t)port);
        address_bytes = sizeof(address.v4);
    } else if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons((uint16_t)port);
        address_bytes = sizeof(address.v6);
    } else {
        return ret_int(env, -EINVAL);
    }
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ret_errno(env, -1);
    /* Connections of a process that has just ended do not keep its port. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (address.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, &address.any, address_bytes) < 0 || listen(fd, 16) < 0)
        return close_with_errno(env, fd);
    return ret_int(env, fd);
}

/* unixConnect(path, flags): fd; with O_NONBLOCK -EAGAIN instead of waiting for room in the listener's backlog */
static napi_value unix_connect(napi_env env, napi_callback_info info)
{
    struct sockaddr_un address;
    napi_value argv[2];
    int32_t flags;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_address(env, argv[0], &address) || !arg_i32(env, argv[1], &flags))
        return NULL;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (flags & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0)
        return ret_errno(env, -1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return close_with_errno(env, fd);
    return ret_int(env, fd);
}

/* unixDatagramConnect(path): fd, in non-blocking mode */
static napi_value unix_datagram_connect(napi_env env, napi_callback_info info)
{
    struct sockaddr_un address;
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_address(env, argv[0], &address))
        return NULL;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return ret_errno(env, -1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return close_with_errno(env, fd);
    return ret_int(env, fd);
}

/* unixListenerPath(fd, out): bytes of the path, 0 for a socket without one; -EINVAL if the socket does not listen */
static napi_value unix_listener_path(napi_env env, napi_callback_info info)
{
    struct sockaddr_un address = { 0 };
    socklen_t address_bytes = sizeof(address), int_bytes = sizeof(int);
    int fd, listens = 0;
    napi_value argv[2];
    size_t room_bytes, path_bytes;
    uint8_t *out;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_bytes(env, argv[1], &out, &room_bytes))
        return NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_bytes) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_bytes) < 0)
        return ret_errno(env, -1);
    if (listens == 0 || address.sun_family != AF_UNIX)
        return ret_int(env, -EINVAL);
    /* An abstract name begins with a NUL and is no path either. The kernel need not end a path with a NUL. */
    path_bytes = strnlen(address.sun_path, sizeof(address.sun_path));
    if (path_bytes > room_bytes)
        return ret_int(env, -ENAMETOOLONG);
    /* In bounds: path_bytes is at most the room in `out`, as just checked, and the room in sun_path. */
    memcpy(out, address.sun_path, path_bytes);
    return ret_int(env, (int64_t)path_bytes);
}

/* unixAccept(listenFd): fd; -EAGAIN if no connection waits, even if the listener is in blocking mode */
static napi_value unix_accept(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

static napi_value make_pair(napi_env env, napi_callback_info info, int type)
{
    napi_value argv[1];
    size_t len_bytes;
    uint8_t *bytes;

    if (!args_get(env, info, argv, 1) || !arg_bytes(env, argv[0], &bytes, &len_bytes))
        return NULL;
    if ((uintptr_t)bytes % sizeof(int) != 0 || len_bytes < 2 * sizeof(int))
        return ret_int(env, -EINVAL);
    return ret_errno(env, socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, (int *)(void *)bytes));
}

/* unixPair(out: Int32Array): 0, with two connected sockets in out */
static napi_value unix_pair(napi_env env, napi_callback_info info)
{
    return make_pair(env, info, SOCK_STREAM);
}

/* packetPair(out: Int32Array): the same, for messages that keep their bounds */
static napi_value packet_pair(napi_env env, napi_callback_info info)
{
    return make_pair(env, info, SOCK_SEQPACKET);
}

/* sendMessage(fd, bytes, at, lenBytes, fds: Int32Array, fdCount, flags): bytes sent; the caller keeps the fds */
static napi_value send_message(napi_env env, napi_callback_info info)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    napi_value argv[7];
    uint8_t *bytes, *fds;
    size_t room_bytes, fds_bytes;
    uint32_t len_bytes, fd_count;
    int32_t flags;
    struct msghdr message = { 0 };
    struct iovec iov;
    int fd;

    if (!args_get(env, info, argv, 7) || !arg_fd(env, argv[0], &fd) || !arg_u32(env, argv[3], &len_bytes) ||
        !arg_bytes_from(env, argv[1], argv[2], len_bytes, &bytes, &room_bytes) ||
        !arg_bytes(env, argv[4], &fds, &fds_bytes) || !arg_u32(env, argv[5], &fd_count) ||
        !arg_i32(env, argv[6], &flags))
        return NULL;
    if (fd_count > MAX_FDS || fd_count > fds_bytes / sizeof(int))
        return ret_int(env, -EINVAL);
    iov.iov_base = bytes;
    iov.iov_len = len_bytes;
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    if (fd_count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        /* In bounds: fd_count is at most MAX_FDS, the room in `control`, and at most the array's length. */
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * fd_count);
    }
    return ret_errno(env, sendmsg(fd, &message, MSG_NOSIGNAL | flags));
}

/*
 * receiveMessage(fd, bytes, at, lenBytes, fds: Int32Array, flags): bytes read, 0 at the end of the stream. fds[0]
 * receives the number of received descriptors, fds[1..] the descriptors, which the caller then owns.
 */
static napi_value receive_message(napi_env env, napi_callback_info info)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    napi_value argv[6];
    uint8_t *bytes, *fds_out;
    size_t room_bytes, fds_bytes;
    uint32_t len_bytes;
    struct msghdr message = { 0 };
    struct iovec iov;
    int32_t flags, fd_count = 0;
    ssize_t got;
    int fd;

    if (!args_get(env, info, argv, 6) || !arg_fd(env, argv[0], &fd) || !arg_u32(env, argv[3], &len_bytes) ||
        !arg_bytes_from(env, argv[1], argv[2], len_bytes, &bytes, &room_bytes) ||
        !arg_bytes(env, argv[4], &fds_out, &fds_bytes) || !arg_i32(env, argv[5], &flags))
        return NULL;
    if ((uintptr_t)fds_out % sizeof(int) != 0 || fds_bytes < (MAX_FDS + 1) * sizeof(int))
        return ret_int(env, -EINVAL);
    iov.iov_base = bytes;
    iov.iov_len = len_bytes;
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control);
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | flags);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return ret_errno(env, got);
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        const size_t part_bytes = part->cmsg_len - CMSG_LEN(0);

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        /* In bounds: the size of `control` limits all parts together to MAX_FDS. */
        memcpy(fds_out + (1 + (size_t)fd_count) * sizeof(int), CMSG_DATA(part), part_bytes);
        fd_count += (int32_t)(part_bytes / sizeof(int));
    }
    memcpy(fds_out, &fd_count, sizeof(fd_count));
    return ret_int(env, got);
}

bool register_socket(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("tcpListen", tcp_listen),
        METHOD("unixListen", unix_listen),
        METHOD("unixConnect", unix_connect),
        METHOD("unixAccept", unix_accept),
        METHOD("unixDatagramConnect", unix_datagram_connect),
        METHOD("unixListenerPath", unix_listener_path),
        METHOD("unixPair", unix_pair),
        METHOD("packetPair", packet_pair),
        METHOD("sendMessage", send_message),
        METHOD("receiveMessage", receive_message),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
