/*
 * direct-tails DIR: writes file tails that are no multiple of a block through the page cache while the file is open
 * with O_DIRECT. Prints a line for each story: "ok NAME" or "NAME: what went wrong".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define TAIL 1168

static const char *path;
static char *blocks;
static char wrong[256];

/* Remembers the first error in a story. */
static long must(const char *what, long result)
{
    if (result < 0 && !wrong[0])
        snprintf(wrong, sizeof(wrong), "%s: %s", what, strerror(errno));
    return result;
}

static void expect(const char *what, long got, long wanted)
{
    if (got != wanted && !wrong[0])
        snprintf(wrong, sizeof(wrong), "%s: %ld, not %ld", what, got, wanted);
}

/* The file has `size` bytes, each of them `byte`. */
static void expect_file(long size, char byte)
{
    char content[4 * BLOCK] = { 0 };
    struct stat st;
    int fd = (int)must("open to look", open(path, O_RDONLY));
    long got = must("read", pread(fd, content, sizeof(content), 0)), right = 0;

    must("stat", stat(path, &st));
    expect("size", st.st_size, size);
    for (long n = 0; n < got; n++)
        right += content[n] == byte;
    expect("bytes that are right", right, size);
    close(fd);
}

static int direct(int flags)
{
    return (int)must("open with O_DIRECT", open(path, O_RDWR | O_DIRECT | flags, 0644));
}

static int plain(int flags)
{
    return (int)must("open", open(path, O_RDWR | flags, 0644));
}

static void mapped_tail(void)
{
    int fd = direct(O_CREAT);
    char *map;

    must("ftruncate", ftruncate(fd, TAIL));
    map = mmap(0, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        must("mmap", -1);
    } else {
        memset(map, 'x', TAIL);
        must("msync", msync(map, BLOCK, MS_SYNC));
        munmap(map, BLOCK);
    }
    must("fsync", fsync(fd));
    must("close", close(fd));
    expect_file(TAIL, 'x');
}

static void written_beside(void)
{
    int writer = plain(O_CREAT), other;

    expect("write", must("write", write(writer, blocks, 100)), 100);
    other = direct(0);
    must("fsync", fsync(writer));
    close(other);
    must("close", close(writer));
    expect_file(100, 'd');
}

static void closed_before(void)
{
    int other = direct(O_CREAT), writer = plain(0);

    expect("write", must("write", write(writer, blocks, 100)), 100);
    must("close", close(writer));
    must("close of the other", close(other));
    expect_file(100, 'd');
}

static void synced_by_the_other(void)
{
    int writer = plain(O_CREAT), other;

    expect("write", must("write", write(writer, blocks, TAIL)), TAIL);
    other = direct(0);
    must("close", close(writer));
    must("fsync of the other", fsync(other));
    must("close of the other", close(other));
    expect_file(TAIL, 'd');
}

static void cut_and_grown(void)
{
    int writer = plain(O_CREAT), other = direct(0);

    expect("write", must("write", write(writer, blocks, BLOCK + TAIL)), BLOCK + TAIL);
    must("ftruncate", ftruncate(writer, 700));
    expect("pwrite", must("pwrite", pwrite(writer, blocks, TAIL, 700)), TAIL);
    must("fsync", fsync(other));
    expect("pwrite behind", must("pwrite", pwrite(writer, blocks, 3000, 700 + TAIL)), 3000);
    must("close", close(writer));
    must("close of the other", close(other));
    expect_file(700 + TAIL + 3000, 'd');
}

static void mapped_beside(void)
{
    int other = direct(O_CREAT), writer;
    char *map;

    must("ftruncate", ftruncate(other, BLOCK + TAIL));
    writer = plain(0);
    map = mmap(0, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    if (map == MAP_FAILED) {
        must("mmap", -1);
    } else {
        memset(map, 'y', BLOCK + TAIL);
        must("close of the writer", close(writer));
        must("msync", msync(map, 2 * BLOCK, MS_SYNC));
        munmap(map, 2 * BLOCK);
    }
    must("close of the other", close(other));
    expect_file(BLOCK + TAIL, 'y');
}

static void copied(void)
{
    char name[512];
    const char *from = path;
    int writer = plain(O_CREAT), in, out;
    off_t in_at = 5, out_at = 0;

    expect("write", must("write", write(writer, blocks, TAIL)), TAIL);
    in = direct(0);
    snprintf(name, sizeof(name), "%s.copy", path);
    path = name;
    out = direct(O_CREAT);
    expect("copy_file_range", must("copy_file_range", copy_file_range(in, &in_at, out, &out_at, 1000, 0)), 1000);
    expect("copy by hand", must("lseek", lseek(in, 0, SEEK_DATA)), 0);
    close(in);
    must("close of the copy", close(out));
    expect_file(1000, 'd');
    unlink(path);
    path = from;
    close(writer);
}

static void own_direct(void)
{
    int fd = direct(O_CREAT);

    expect("aligned pwrite", pwrite(fd, blocks, BLOCK, 0), BLOCK);
    expect("aligned pread", pread(fd, blocks + BLOCK, BLOCK, 0), BLOCK);
    expect("pwrite that is not aligned", pwrite(fd, blocks, 100, 1) < 0 && errno == EINVAL, 1);
    expect("pread that is not aligned", pread(fd, blocks + BLOCK, 100, 1) < 0 && errno == EINVAL, 1);
    must("fcntl", fcntl(fd, F_SETFL, 0));
    expect("pwrite without O_DIRECT", must("pwrite", pwrite(fd, blocks, 100, BLOCK)), 100);
    must("close", close(fd));
    expect_file(BLOCK + 100, 'd');
}

static const struct {
    const char *name;
    void (*tell)(void);
} stories[] = {
    { "a mapped tail", mapped_tail },
    { "written beside an O_DIRECT open", written_beside },
    { "closed before the O_DIRECT open", closed_before },
    { "synced by the O_DIRECT open", synced_by_the_other },
    { "cut and grown", cut_and_grown },
    { "mapped beside an O_DIRECT open", mapped_beside },
    { "copied", copied },
    { "its own O_DIRECT", own_direct },
};

int main(int argc, char **argv)
{
    char name[256];

    if (argc != 2 || posix_memalign((void **)&blocks, BLOCK, 4 * BLOCK))
        return 2;
    snprintf(name, sizeof(name), "%s/direct-tails", argv[1]);
    path = name;
    for (size_t n = 0; n < sizeof(stories) / sizeof(stories[0]); n++) {
        memset(blocks, 'd', 4 * BLOCK);
        wrong[0] = 0;
        unlink(path);
        stories[n].tell();
        printf(wrong[0] ? "%s: %s\n" : "ok %s\n", stories[n].name, wrong);
    }
    unlink(path);
    return 0;
}
