#include "front-end.h"

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fail.h"
#include "ram.h"

/* QEMU docs/interop/vhost-user.rst */
enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
};

enum { PROTOCOL_MQ = 1 << 0, PROTOCOL_REPLY_ACK = 1 << 3 };
enum { VERSION_1 = 1, REPLY = 1 << 2, NEED_REPLY = 1 << 3 };

#define FEATURE(bit) (1ULL << (bit))
#define VHOST_USER_F_PROTOCOL_FEATURES 30

struct message {
    uint32_t request, flags, size_bytes;
    union {
        uint64_t u64;
        struct vhost_vring_state state;
        struct {
            uint32_t index, flags;
            uint64_t desc_uva, used_uva, avail_uva, log_gpa;
        } addr;
        struct {
            uint32_t count, padding;
            uint64_t gpa, size_bytes, uva, offset_bytes;
        } memory;
    };
} __attribute__((packed));

#define HEADER_BYTES 12

static int sock = -1;

static void send_message(struct message *message, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { message, HEADER_BYTES + message->size_bytes };
    struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof(control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    if (sendmsg(sock, &header, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
        fail_errno("vhost-user");
}

static void receive_reply(struct message *message, uint32_t request)
{
    if (recv(sock, message, HEADER_BYTES, MSG_WAITALL) != HEADER_BYTES)
        fail("the device has left while it was asked for request %u", request);
    if (message->request != request || message->flags != (VERSION_1 | REPLY) ||
        message->size_bytes > sizeof(*message) - HEADER_BYTES)
        fail("the device answers request %u with request %u, flags %#x", request, message->request, message->flags);
    if (recv(sock, &message->u64, message->size_bytes, MSG_WAITALL) != (ssize_t)message->size_bytes)
        fail("the device has left in the middle of a reply");
}

/* Sends a message that has its own reply. */
static void ask(struct message *message, uint32_t request, uint32_t size_bytes)
{
    message->request = request;
    message->flags = VERSION_1;
    message->size_bytes = size_bytes;
    send_message(message, -1);
    receive_reply(message, request);
}

static uint64_t ask_u64(uint32_t request)
{
    struct message message = { 0 };

    ask(&message, request, 0);
    return message.u64;
}

/* Sends a message without a reply: the device acknowledges it. */
static void tell(struct message *message, uint32_t request, uint32_t size_bytes, int fd)
{
    message->request = request;
    message->flags = VERSION_1 | NEED_REPLY;
    message->size_bytes = size_bytes;
    send_message(message, fd);
    receive_reply(message, request);
    if (message->u64 != 0)
        fail("the device refuses request %u", request);
}

static void tell_u64(uint32_t request, uint64_t value, int fd)
{
    struct message message = { .u64 = value };

    tell(&message, request, sizeof(message.u64), fd);
}

static void tell_state(uint32_t request, unsigned index, unsigned num)
{
    struct message message = { .state = { .index = index, .num = num } };

    tell(&message, request, sizeof(message.state), -1);
}

static void connect_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        fail("%s: too long for a socket", path);
    strcpy(address.sun_path, path);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail_errno(path);
}

static void share_memory(void)
{
    struct message message = { .memory = { .count = 1 } };

    message.memory.size_bytes = ram_size_bytes();
    message.memory.uva = (uintptr_t)ram_base();
    tell(&message, SET_MEM_TABLE, sizeof(message.memory), ram_fd());
}

void front_end_connect(const char *socket_path, unsigned queue_count)
{
    const uint64_t protocol = PROTOCOL_MQ | PROTOCOL_REPLY_ACK;
    const uint64_t features = FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VHOST_USER_F_PROTOCOL_FEATURES) |
                              FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
    struct message message = { .u64 = protocol };

    connect_socket(socket_path);
    if ((ask_u64(GET_FEATURES) & features) != features)
        fail("the device does not offer what a Linux guest takes");
    if ((ask_u64(GET_PROTOCOL_FEATURES) & protocol) != protocol)
        fail("the device offers no several queues, or no acknowledgements");
    /* Acknowledgements begin with the first message after this one. */
    message.request = SET_PROTOCOL_FEATURES;
    message.flags = VERSION_1;
    message.size_bytes = sizeof(message.u64);
    send_message(&message, -1);
    if (ask_u64(GET_QUEUE_NUM) < queue_count)
        fail("the device has fewer than %u queues", queue_count);
    tell(&message, SET_OWNER, 0, -1);
    tell_u64(SET_FEATURES, features, -1);
    share_memory();
}

void front_end_start(const struct ring *ring)
{
    struct message message = { .addr = { .index = ring->index } };

    message.addr.desc_uva = (uintptr_t)ring->desc;
    message.addr.avail_uva = (uintptr_t)ring->avail;
    message.addr.used_uva = (uintptr_t)ring->used;
    tell_state(SET_VRING_NUM, ring->index, ring->size);
    tell_state(SET_VRING_BASE, ring->index, 0);
    tell(&message, SET_VRING_ADDR, sizeof(message.addr), -1);
    tell_u64(SET_VRING_CALL, ring->index, ring->call_fd);
    tell_u64(SET_VRING_KICK, ring->index, ring->kick_fd);
    tell_state(SET_VRING_ENABLE, ring->index, 1);
}

void front_end_stop(const struct ring *ring)
{
    struct message message = { .state = { .index = ring->index } };

    tell_state(SET_VRING_ENABLE, ring->index, 0);
    ask(&message, GET_VRING_BASE, sizeof(message.state));
}
