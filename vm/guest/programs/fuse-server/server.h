/* The parts of fuse-server: see main.c. */
#pragma once

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than some headers: uapi fuse.h of Linux 6.9 (7.40). */
#define FOPEN_PASSTHROUGH_BIT (1 << 7)
#define DIRECT_IO_ALLOW_MMAP_BIT (1ULL << 36)
#define PASSTHROUGH_BIT (1ULL << 37)
#define INIT_EXT_BIT (1ULL << 30)

#define NAME_BYTES 256
#define PATH_BYTES 512
/* fuse_in_header, the largest arguments, 1 MiB of data. */
#define REQUEST_BYTES ((1 << 20) + 8192)

/* An inode that the kernel knows. The root has number 1. */
struct node {
    uint64_t id;
    uint64_t lookups;
    uint64_t device, inode;
    int fd; /* O_PATH */
    char path[PATH_BYTES]; /* below the root, as it was first looked up */
    int64_t changed_seconds, changed_nanoseconds; /* the host's time of change at the last open */
    int backing_id; /* for FOPEN_PASSTHROUGH; 0: none */
    unsigned passthrough_opens;
    unsigned reads, cached_writes, direct_writes, writes_in_flight, highest_overlap;
    struct node *next;
};

/* A file or directory that the kernel has open. Its address is the handle. */
struct handle {
    int fd;
    void *dir; /* DIR of a directory */
    bool passthrough;
};

struct options {
    const char *source, *target;
    bool direct, parallel, allow_mmap, async_dio, writeback, keep, keep_unchanged, cache_dir, passthrough;
    double attr_seconds, entry_seconds;
    /* Opens of files whose names begin with this, and that are read-only, are answered without FOPEN_DIRECT_IO. */
    const char *cached_readers;
};

extern struct options options;
extern int fuse_fd;
extern unsigned guest_minor;
extern uint64_t agreed_flags;
/* FOPEN flags for the opens that follow, whatever the options say; -1: as the options say. */
extern int forced_open_flags;

/* A request, from its arrival to its reply. */
struct request {
    struct fuse_in_header *in;
    char *args;
    size_t args_bytes;
    double seen_ms;
    struct node *node; /* NULL: unknown to the kernel's view, or a name is looked up */
    char path[PATH_BYTES]; /* of its name if it has one, else of its inode; faults choose by it */
    uint64_t offset, size, handle;
    uint32_t flags, detail, open_flags;
    int error; /* of the reply, 0 or negative */
    size_t reply_bytes;
    int forced_error; /* by a fault; 0: none */
    long short_bytes; /* by a fault; -1: none */
    struct request *next;
};

double now_ms(void);

/* nodes.c */
void init_nodes(void);
struct node *find_node(uint64_t id);
void name_path(const struct node *node, const char *name, char *path);
struct node *look_up(struct node *parent, const char *name, struct fuse_entry_out *out);
void forget_node(uint64_t id, uint64_t count);
int reopen(const struct node *node, int flags);
int fill_attr(const struct node *node, struct fuse_attr *attr);
struct node *first_node(void);

/* session.c */
void mount_share(void);
void serve(struct request *request);
void send_reply(struct request *request, int error, const void *data, size_t bytes);

/* files.c */
void drop_suidgid(int fd);
void open_file(struct request *r);
void create_file(struct request *r);
void read_file(struct request *r);
void write_file(struct request *r);
void release_file(struct request *r);
void copy_range(struct request *r, bool wide);
void open_directory(struct request *r);
void read_directory(struct request *r);
void release_directory(struct request *r);

/* faults.c */
void take_request(char *buffer, size_t bytes);
bool add_fault(const char *line);
unsigned clear_faults(void);
unsigned release_all(void);
unsigned served_requests(void);
void print_faults(void);

/* trace.c */
void keep_trace(const struct request *request);
void switch_trace(bool on);
void print_trace(void);

/* control.c */
void obey(char *line);
