/*
 * file-handle of FILE: prints the handle of FILE, as hexadecimal digits.
 * file-handle open DIRECTORY HANDLE: opens HANDLE in the file system of DIRECTORY; prints a file, or the path of a directory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

union handle {
    struct file_handle h;
    unsigned char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static int print_handle(const char *path)
{
    union handle handle = { .h.handle_bytes = MAX_HANDLE_SZ };
    int mount_id;
    size_t n;

    if (name_to_handle_at(AT_FDCWD, path, &handle.h, &mount_id, 0) < 0) {
        perror("name_to_handle_at");
        return 1;
    }
    for (n = 0; n < sizeof(struct file_handle) + handle.h.handle_bytes; n++)
        printf("%02x", handle.bytes[n]);
    printf("\n");
    return 0;
}

static int print_directory(int fd)
{
    char link[PATH_MAX], path[PATH_MAX];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path);
    if (length < 0)
        return 1;
    printf("%.*s\n", (int)length, path);
    return 0;
}

static int print_file(int fd)
{
    char text[4096];
    ssize_t length;

    while ((length = read(fd, text, sizeof text)) > 0)
        fwrite(text, 1, length, stdout);
    if (length == 0)
        return 0;
    perror("read");
    return 1;
}

static int open_handle(const char *directory, const char *digits)
{
    union handle handle = { 0 };
    struct stat st;
    int mount_fd, fd;
    size_t n;

    for (n = 0; n < sizeof handle.bytes && digits[2 * n] != '\0'; n++)
        sscanf(digits + 2 * n, "%2hhx", &handle.bytes[n]);
    mount_fd = open(directory, O_RDONLY | O_DIRECTORY);
    if (mount_fd < 0) {
        perror(directory);
        return 1;
    }
    fd = open_by_handle_at(mount_fd, &handle.h, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror("open_by_handle_at");
        return 1;
    }
    return S_ISDIR(st.st_mode) ? print_directory(fd) : print_file(fd);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "of") == 0)
        return print_handle(argv[2]);
    if (argc == 4 && strcmp(argv[1], "open") == 0)
        return open_handle(argv[2], argv[3]);
    return 2;
}
