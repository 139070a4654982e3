/*
 * virtio-fs-load: plays the guest of a virtio-fs device, without a virtual machine. It says what QEMU would say over the
 * device's vhost-user socket, and lays requests into shared memory as the Linux driver does. What it is to do comes in
 * lines on its input; a line of JSON says that it is ready, and each run gives another:
 *
 *   run WORKLOAD DEPTH BYTES WARM_UP_MS RUN_MS [BESIDE BYTES]     DEPTH is each thread's
 *   pids PID...      the processes of the device, whose processor time counts
 *   thread TID       the thread of the share, whose waiting for a processor counts
 *   cpu N            runs on that processor from now on; -1: on any
 *   spread           has each thread run on a processor of its own from now on
 *   floor            measures what the kernel alone would take
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "floor.h"
#include "front-end.h"
#include "ram.h"
#include "run.h"

#define RAM_BYTES (512ULL << 20)
#define RING_SIZE 1024

static const struct workload *const workloads[] = {
    &getattr_workload,      &lookup_workload,      &lookup_known_workload, &open_workload,
    &create_workload,       &readdirplus_workload, &readdirplus_known_workload,
    &read_workload,         &write_workload,       &read_random_workload,  &write_random_workload,
    &read_cold_workload,    &read_direct_workload, &write_direct_workload, &fsync_workload,
    &mix_workload,          &open_many_workload,
};

const struct workload *find_workload(const char *name)
{
    for (size_t n = 0; n < sizeof(workloads) / sizeof(*workloads); n++)
        if (strcmp(workloads[n]->name, name) == 0)
            return workloads[n];
    fail("no workload %s", name);
}

/* Sends INIT as Linux 6.12 does, without flags that would change the device's answers. */
static void begin_session(struct guest *guest)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_init_in),
                                        .reply_bytes = sizeof(struct fuse_init_out) };
    static const struct workload session = { .name = "session" };
    static struct lane lane;
    const struct fuse_init_out *out;

    request_create(&lane.request, &guest->rings[0], &lane);
    lane.workload = &session;
    *(struct fuse_init_in *)lane.request.args = (struct fuse_init_in){
        .major = FUSE_KERNEL_VERSION,
        .minor = 36,
        .max_readahead = 1 << 20,
        .flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
                 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA,
    };
    call(&lane, FUSE_INIT, 0, &shape);
    out = lane.request.reply;
    if (out->major != FUSE_KERNEL_VERSION || out->max_write < MAX_DATA_PAGES * PAGE_BYTES)
        fail("the device agrees on major version %u and %u bytes a WRITE", out->major, out->max_write);
}

static void start_guest(struct guest *guest, const char *socket_path, unsigned queues)
{
    ram_create(RAM_BYTES);
    int call_fd = eventfd(0, EFD_CLOEXEC);

    guest->ring_count = queues;
    guest->rings = calloc(queues, sizeof(*guest->rings));
    if (call_fd < 0 || !guest->rings)
        fail_errno("queues");
    front_end_connect(socket_path, queues + 1);
    /* Nobody waits for FORGETs, so the call descriptor is never read. */
    ring_create(&guest->hiprio, 0, RING_SIZE, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    front_end_start(&guest->hiprio);
    for (unsigned n = 0; n < queues; n++) {
        if (guest->threaded && n > 0 && (call_fd = eventfd(0, EFD_CLOEXEC)) < 0)
            fail_errno("queues");
        ring_create(&guest->rings[n], n + 1, RING_SIZE, call_fd);
        front_end_start(&guest->rings[n]);
    }
    begin_session(guest);
}

static void read_pids(struct guest *guest, char *words)
{
    guest->pid_count = 0;
    for (char *word = strtok(words, " "); word && guest->pid_count < MAX_PIDS; word = strtok(NULL, " "))
        guest->pids[guest->pid_count++] = atoi(word);
}

static void run_line(struct guest *guest, const char *line)
{
    char name[32], beside[32];
    struct job job = { 0 };
    const int count = sscanf(line, "%31s %u %u %u %u %31s %u", name, &job.depth, &job.bytes, &job.warm_up_ms,
                             &job.run_ms, beside, &job.beside_bytes);

    if ((count != 5 && count != 7) || job.depth < 1 || job.depth > MAX_LANES)
        fail("not a run: %s", line);
    if (job.bytes > MAX_DATA_PAGES * PAGE_BYTES || job.bytes > place.data_bytes)
        fail("too many bytes: %s", line);
    job.workload = find_workload(name);
    if (count == 7)
        job.beside = find_workload(beside);
    run_job(guest, &job);
}

static void obey(struct guest *guest, char *line)
{
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "run ", 4) == 0)
        run_line(guest, line + 4);
    else if (strncmp(line, "pids ", 5) == 0)
        read_pids(guest, line + 5);
    else if (strncmp(line, "thread ", 7) == 0)
        guest->thread = atoi(line + 7);
    else if (strncmp(line, "cpu ", 4) == 0)
        pin(atoi(line + 4));
    else if (strcmp(line, "spread") == 0)
        guest->spread = true;
    else if (strcmp(line, "floor") == 0)
        print_floor();
    else
        fail("not an order: %s", line);
}

int main(int argc, char **argv)
{
    static struct guest guest;
    char line[512];

    if (argc != 6 && argc != 7)
        fail("usage: virtio-fs-load SOCKET QUEUES SHARED_DIR DATA_BYTES ENTRIES [busy|threads]");
    place.host_dir = argv[3];
    place.data_bytes = strtoull(argv[4], NULL, 10);
    place.entries = (unsigned)atoi(argv[5]);
    guest.busy_polling = argc == 7 && strcmp(argv[6], "busy") == 0;
    guest.threaded = argc == 7 && strcmp(argv[6], "threads") == 0;
    start_guest(&guest, argv[1], (unsigned)atoi(argv[2]));
    puts("{\"ready\":true}");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin))
        obey(&guest, line);
    for (unsigned n = 0; n < guest.ring_count; n++)
        front_end_stop(&guest.rings[n]);
    front_end_stop(&guest.hiprio);
    return 0;
}
