/*
 * file-soak DIR SEED PROCESSES SECONDS: makes DIR and a folder in it for each process. There the process writes files
 * in three ways (the page cache, O_DIRECT, a shared mapping), cuts, renames, links, removes and reads them, and
 * compares each with a model. At the end it calls fsync on everything and prints "PATH BYTES SUM" for each file,
 * taken from the model rather than the file system; then "steps N retries N". The first difference ends it with
 * status 1.
 *
 * Injected faults use the error EDOM, which means that nothing has happened: the call is made again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 12
#define MAX_BYTES (256 * 1024)
#define BLOCK 4096
#define NAME_BYTES 32

/* A file's expected contents and its name; without a name the file does not exist. */
struct model {
    char name[NAME_BYTES];
    size_t len_bytes;
    uint8_t bytes[MAX_BYTES];
};

static struct model models[FILES];
static uint64_t state;
static long steps, retries, made;
static void *buffer;

/* SplitMix64. */
static uint64_t below(uint64_t end)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % end;
}

static void die(const char *what, const struct model *model)
{
    fprintf(stderr, "%s %s: %s\n", what, model == NULL ? "" : model->name, strerror(errno));
    exit(1);
}

static void differ(const char *how, const struct model *model, size_t at)
{
    fprintf(stderr, "MISMATCH %s: %s, at byte %zu of %zu\n", model->name, how, at, model->len_bytes);
    exit(1);
}

static int retry(void)
{
    if (errno != EDOM)
        return 0;
    retries++;
    return 1;
}

/* Repeats a call as long as it meets an injected fault; then it has to succeed. */
#define MUST(model, call)                                                                                              \
    ({                                                                                                                 \
        long result;                                                                                                   \
        while ((result = (long)(call)) < 0 && retry())                                                                 \
            ;                                                                                                          \
        if (result < 0)                                                                                                \
            die(#call, model);                                                                                         \
        result;                                                                                                        \
    })

static int open_file(const struct model *model, int flags)
{
    return (int)MUST(model, open(model->name, flags | O_CLOEXEC, 0644));
}

static struct model *any_file(void)
{
    struct model *const model = &models[below(FILES)];

    if (model->name[0] == '\0') {
        snprintf(model->name, sizeof(model->name), "file-%ld", made++);
        close(open_file(model, O_CREAT | O_EXCL | O_RDWR));
        model->len_bytes = 0;
    }
    return model;
}

static void grow(struct model *model, size_t len_bytes)
{
    if (len_bytes <= model->len_bytes)
        return;
    memset(model->bytes + model->len_bytes, 0, len_bytes - model->len_bytes);
    model->len_bytes = len_bytes;
}

static void write_at(int fd, struct model *model, size_t at, size_t len_bytes)
{
    memset(buffer, 1 + (int)below(255), len_bytes);
    for (size_t done = 0; done < len_bytes;)
        done += (size_t)MUST(model, pwrite(fd, (char *)buffer + done, len_bytes - done, (off_t)(at + done)));
    grow(model, at + len_bytes);
    memcpy(model->bytes + at, buffer, len_bytes);
}

static void write_cached(struct model *model)
{
    const size_t at = below(MAX_BYTES - 1), len_bytes = 1 + below(MAX_BYTES - at);
    const int fd = open_file(model, O_RDWR);

    write_at(fd, model, at, len_bytes);
    if (below(4) == 0)
        MUST(model, fsync(fd));
    close(fd);
}

static void write_direct(struct model *model)
{
    const size_t at = BLOCK * below(MAX_BYTES / BLOCK), len_bytes = BLOCK * (1 + below((MAX_BYTES - at) / BLOCK));
    const int fd = open_file(model, O_RDWR | O_DIRECT);

    write_at(fd, model, at, len_bytes);
    close(fd);
}

static void write_mapped(struct model *model)
{
    const int fd = open_file(model, O_RDWR);
    const uint8_t byte = (uint8_t)(1 + below(255));
    size_t at, len_bytes;
    uint8_t *map;

    if (model->len_bytes > 0) {
        at = below(model->len_bytes);
        len_bytes = 1 + below(model->len_bytes - at);
        map = mmap(NULL, model->len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            die("mmap", model);
        memset(map + at, byte, len_bytes);
        memset(model->bytes + at, byte, len_bytes);
        if (below(2) == 0)
            MUST(model, msync(map, model->len_bytes, MS_SYNC));
        munmap(map, model->len_bytes);
    }
    close(fd);
}

static void cut(struct model *model)
{
    const size_t len_bytes = below(MAX_BYTES);

    MUST(model, truncate(model->name, (off_t)len_bytes));
    grow(model, len_bytes);
    model->len_bytes = len_bytes;
}

/* Renames the file to a new name or over another file, or does the same by a second link. */
static void move(struct model *model)
{
    struct model *const other = &models[below(FILES)];
    char name[NAME_BYTES];

    snprintf(name, sizeof(name), "file-%ld", made++);
    if (other != model && other->name[0] != '\0' && below(4) == 0) {
        MUST(model, rename(model->name, other->name));
        memcpy(name, other->name, sizeof(name));
        other->name[0] = '\0';
    } else if (below(2) == 0) {
        MUST(model, rename(model->name, name));
    } else {
        MUST(model, link(model->name, name));
        MUST(model, unlink(model->name));
    }
    memcpy(model->name, name, sizeof(name));
}

static void drop(struct model *model)
{
    if (below(4) != 0)
        return;
    MUST(model, unlink(model->name));
    model->name[0] = '\0';
}

static void compare(struct model *model, int flags)
{
    const int fd = open_file(model, O_RDONLY | flags);
    const uint8_t *const actual = buffer;
    size_t done = 0;
    struct stat st;

    for (long got = 1; got > 0 && done < MAX_BYTES; done += (size_t)got)
        got = MUST(model, pread(fd, (char *)buffer + done, MAX_BYTES - done, (off_t)done));
    MUST(model, fstat(fd, &st));
    close(fd);
    if (done != model->len_bytes || (size_t)st.st_size != model->len_bytes)
        differ("another length", model, done);
    for (size_t at = 0; at < done; at++)
        if (actual[at] != model->bytes[at])
            differ(flags == 0 ? "read through the cache" : "read directly", model, at);
}

static void list(struct model *model)
{
    int found = 0, expected = 0;
    struct dirent *entry;
    DIR *dir;

    while ((dir = opendir(".")) == NULL)
        if (!retry())
            die("opendir", model);
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
        found += entry->d_name[0] != '.';
    if (errno != 0)
        die("readdir", model);
    closedir(dir);
    for (size_t n = 0; n < FILES; n++)
        expected += models[n].name[0] != '\0';
    if (found != expected)
        differ("names in the directory", model, (size_t)found);
}

static void step(void)
{
    struct model *const model = any_file();

    switch (below(12)) {
    case 0 ... 1: return write_cached(model);
    case 2: return write_direct(model);
    case 3: return write_mapped(model);
    case 4: return cut(model);
    case 5: return move(model);
    case 6: return drop(model);
    case 7: return list(model);
    case 8 ... 9: return compare(model, O_DIRECT);
    default: return compare(model, 0);
    }
}

/* FNV-1a, 32 bits. */
static uint32_t sum_of(const struct model *model)
{
    uint32_t sum = 0x811c9dc5;

    for (size_t at = 0; at < model->len_bytes; at++)
        sum = (sum ^ model->bytes[at]) * 0x01000193;
    return sum;
}

static void work(const char *dir, int number, long seconds)
{
    char folder[NAME_BYTES];
    const time_t end = time(NULL) + seconds;

    snprintf(folder, sizeof(folder), "process-%d", number);
    MUST(NULL, chdir(dir));
    MUST(NULL, mkdir(folder, 0755));
    MUST(NULL, chdir(folder));
    /* O_DIRECT wants memory that begins with a page. */
    buffer = aligned_alloc(BLOCK, MAX_BYTES);
    for (; time(NULL) < end; steps++)
        step();
    for (struct model *model = models; model < models + FILES; model++) {
        if (model->name[0] == '\0')
            continue;
        const int fd = open_file(model, O_RDWR);

        MUST(model, fsync(fd));
        close(fd);
        compare(model, 0);
        printf("%s/%s %zu %08x\n", folder, model->name, model->len_bytes, sum_of(model));
    }
    printf("steps %ld retries %ld\n", steps, retries);
}

int main(int argc, char **argv)
{
    int status, failed = 0;

    if (argc != 5)
        return 2;
    MUST(NULL, mkdir(argv[1], 0755));
    for (int n = 0; n < atoi(argv[3]); n++) {
        if (fork() == 0) {
            state = strtoull(argv[2], NULL, 0) * 1000 + (uint64_t)n;
            work(argv[1], n, atol(argv[4]));
            return 0;
        }
    }
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
