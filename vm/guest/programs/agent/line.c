#define _GNU_SOURCE
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base64.h"

#define VIRTIO_DRIVER "/sys/bus/virtio/drivers/virtio_console"
#define VIRTIO_PORT "/dev/vport0p1"
#define SERIAL_PORT "/dev/ttyS1"
#define PORT_TRIES 200
#define PORT_PAUSE_US 10000

static int line_fd;

void die(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_raw(int fd)
{
    struct termios mode;
    if (tcgetattr(fd, &mode) < 0)
        return; /* a virtio-serial port, which passes bytes as they are */
    cfmakeraw(&mode);
    mode.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&mode, B115200);
    tcsetattr(fd, TCSANOW, &mode);
}

/* Opens the port, which appears a moment after its driver. */
static int open_port(void)
{
    int tries = access(VIRTIO_DRIVER, F_OK) == 0 ? PORT_TRIES : 1;
    for (int fd; tries > 0; tries--) {
        if ((fd = open(VIRTIO_PORT, O_RDWR | O_CLOEXEC)) >= 0)
            return fd;
        usleep(PORT_PAUSE_US);
    }
    return open(SERIAL_PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int open_line(void)
{
    line_fd = open_port();
    if (line_fd < 0)
        die("line to the host");
    make_raw(line_fd);
    return line_fd;
}

static void send_bytes(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(line_fd, bytes, len);
        if (n < 0 && errno != EINTR)
            die("write to the host");
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

void send_text(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    send_bytes(text, (size_t)len);
}

void send_base64(const uint8_t *bytes, size_t len)
{
    static char text[BASE64_BYTES(PIECE_BYTES)];
    send_bytes(text, base64_encode(text, bytes, len));
}
