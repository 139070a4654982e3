/* The process as a whole: executes another program, and asks the launcher, then its parent, to seal it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "args.h"
#include "kernel-calls.h"
#include "module.h"

#define MAX_WORDS 4096
#define MAX_WORD_BYTES 8192

static bool is_pipe(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

static void free_words(char **words)
{
    for (size_t n = 0; words != NULL && words[n] != NULL; n++)
        free(words[n]);
    free(words);
}

/* Reads an array of strings. Returns it NULL-terminated, or NULL with an exception pending. */
static char **arg_words(napi_env env, napi_value value)
{
    char word[MAX_WORD_BYTES];
    uint32_t count;
    napi_value item;
    char **words;

    if (napi_get_array_length(env, value, &count) != napi_ok || count == 0 || count > MAX_WORDS) {
        napi_throw_type_error(env, NULL, "an array of 1 to 4096 strings is expected");
        return NULL;
    }
    words = calloc(count + 1, sizeof(*words));
    for (uint32_t n = 0; words != NULL && n < count; n++) {
        if (napi_get_element(env, value, n, &item) != napi_ok || !arg_string(env, item, word, sizeof(word))) {
            free_words(words);
            return NULL;
        }
        words[n] = strdup(word);
    }
    return words;
}

/* The next program inherits no other descriptors. */
static void close_on_exec_from(int first)
{
    if (syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    /* For Linux before 5.11, which lacks close_range with this flag. */
    for (int fd = first, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* becomeProgram(words, fds): -errno; words[0] is the program's path, `fds` (Int32Array) are the descriptors to
 * inherit */
static napi_value become_program(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    uint8_t *bytes;
    size_t len_bytes;
    char **words;

    if (!args_get(env, info, argv, 2) || !arg_bytes(env, argv[1], &bytes, &len_bytes) ||
        (words = arg_words(env, argv[0])) == NULL)
        return NULL;
    close_on_exec_from(STDERR_FILENO + 1);
    for (size_t at = 0; at + sizeof(int32_t) <= len_bytes; at += sizeof(int32_t)) {
        int32_t fd;

        memcpy(&fd, bytes + at, sizeof(fd));
        if (fcntl(fd, F_SETFD, 0) < 0) {
            free_words(words);
            return ret_errno(env, -1);
        }
    }
    execv(words[0], words);
    const int error = errno;
    free_words(words);
    return ret_int(env, -error);
}

/* sealRequest(fd): asks the launcher at the other end of `fd` to seal this process; returns 0 when it has */
static napi_value seal_request(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    const char request = 's';
    int fd, result;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    if (write(fd, &request, 1) != 1)
        return ret_errno(env, -1);
    if (read(fd, &result, sizeof(result)) != sizeof(result))
        return ret_int(env, -EPIPE);
    return ret_int(env, result);
}

/*
 * writeNow(fd, bytes, at): writes as many of `bytes` from `at` on as fit now, at most PIPE_BUF; -EAGAIN if none fit.
 * It polls each time: other processes share the descriptor, and only they may put it into non-blocking mode.
 */
static napi_value write_now(napi_env env, napi_callback_info info)
{
    struct pollfd pollfd = { .events = POLLOUT };
    napi_value argv[3];
    size_t len_bytes;
    uint8_t *bytes;
    uint32_t at;
    ssize_t result;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &pollfd.fd) ||
        !arg_bytes(env, argv[1], &bytes, &len_bytes) || !arg_u32(env, argv[2], &at))
        return NULL;
    if (at > len_bytes)
        return ret_int(env, -EINVAL);
    if (poll(&pollfd, 1, 0) != 1 || !(pollfd.revents & (POLLOUT | POLLERR)))
        return ret_int(env, -EAGAIN);
    /* In bounds: `at` lies within the array, as checked. A writable pipe has room for PIPE_BUF bytes. */
    struct iovec piece = { bytes + at, len_bytes - at < PIPE_BUF ? len_bytes - at : PIPE_BUF };

    result = send(pollfd.fd, piece.iov_base, piece.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* Another writer may have been quicker: pipes of Linux 6.4 and later report this. */
    if (result < 0 && errno == ENOTSOCK && is_pipe(pollfd.fd))
        result = kernel_pwritev2(pollfd.fd, &piece, 1, -1, RWF_NOWAIT);
    if (result < 0 && (errno == ENOTSOCK || errno == EOPNOTSUPP || errno == ENOSYS))
        result = write(pollfd.fd, piece.iov_base, piece.iov_len);
    return ret_errno(env, result);
}

/*
 * readNow(fd, bytes): reads into `bytes` what a pipe or socket holds now; 0 at its end, -EAGAIN if it holds nothing. It
 * polls each time: another process that shares the descriptor can put it into blocking mode.
 */
static napi_value read_now(napi_env env, napi_callback_info info)
{
    struct pollfd pollfd = { .events = POLLIN };
    struct iovec room;
    napi_value argv[2];
    uint8_t *bytes;
    ssize_t result;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &pollfd.fd) ||
        !arg_bytes(env, argv[1], &bytes, &room.iov_len))
        return NULL;
    if (poll(&pollfd, 1, 0) != 1)
        return ret_int(env, -EAGAIN);
    /* In bounds: all of the array. */
    room.iov_base = bytes;
    result = recv(pollfd.fd, room.iov_base, room.iov_len, MSG_DONTWAIT);
    /* Another reader may have been quicker: pipes of Linux 6.4 and later report this. */
    if (result < 0 && errno == ENOTSOCK && is_pipe(pollfd.fd))
        result = kernel_preadv2(pollfd.fd, &room, 1, -1, RWF_NOWAIT);
    if (result < 0 && (errno == ENOTSOCK || errno == EOPNOTSUPP || errno == ENOSYS))
        result = read(pollfd.fd, room.iov_base, room.iov_len);
    return ret_errno(env, result);
}

bool register_process(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("becomeProgram", become_program),
        METHOD("writeNow", write_now),
        METHOD("readNow", read_now),
        METHOD("sealRequest", seal_request),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
