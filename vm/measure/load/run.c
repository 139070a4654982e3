#define _GNU_SOURCE
#include "run.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cpu-time.h"
#include "fail.h"

/* A thread of the guest: its queues, and the lanes that it keeps going. */
struct driver {
    struct ring *rings;
    unsigned ring_count;
    struct lane lanes[MAX_LANES + 1];
    unsigned lanes_made;
    unsigned lane_count;
    bool busy_polling;
    int cpu; /* -1: any */
    uint64_t end_ns; /* of the drive */
    bool measure;
    struct tally main;
    uint64_t waits;
    pthread_t thread;
};

/*
 * The longest operation of one lane without the time for which this thread or the share's had to wait for a processor.
 * What they have waited is read every millisecond and after a long operation, so it is right to a millisecond.
 */
struct held {
    int own_fd, share_fd;
    uint64_t read_at_ns, waited_ns;
    uint64_t max_ns;
};

#define HELD_STEP_NS 1000000U

static struct held held = { .own_fd = -1, .share_fd = -1 };

static struct driver drivers[MAX_DRIVERS];
static unsigned driver_count;
static struct tally beside;

/* The counts up to one moment. */
struct snapshot {
    uint64_t at_ns, device_ns, own_ns, kicks, waits;
    struct split_time device;
    struct machine_time machine;
};

static struct snapshot take_snapshot(const struct guest *guest)
{
    struct snapshot now = { .at_ns = now_ns(), .own_ns = process_cpu_ns(getpid()) };

    now.machine = machine_time();
    for (unsigned n = 0; n < guest->pid_count; n++) {
        const struct split_time split = process_split_time(guest->pids[n]);

        now.device_ns += process_cpu_ns(guest->pids[n]);
        now.device.user_ticks += split.user_ticks;
        now.device.kernel_ticks += split.kernel_ticks;
    }
    for (unsigned n = 0; n < guest->ring_count; n++)
        now.kicks += guest->rings[n].kicks;
    for (unsigned n = 0; n < driver_count; n++)
        now.waits += drivers[n].waits;
    return now;
}

static void set_up_lane(struct guest *guest, struct driver *driver, unsigned at, const struct job *job)
{
    const bool is_beside = at == job->depth;
    struct lane *lane = &driver->lanes[at];
    const unsigned number = (unsigned)(driver - drivers) * job->depth + at;

    /* Each lane takes memory once: its requests stay from run to run. */
    if (at >= driver->lanes_made) {
        request_create(&lane->request, &driver->rings[at % driver->ring_count], lane);
        lane->hiprio = &guest->hiprio;
        lane->random = 0x853c49e6748fea9bULL * (MAX_LANES * (unsigned)(driver - drivers) + at + 1);
        driver->lanes_made++;
    }
    lane->number = is_beside ? 0 : number;
    lane->count = is_beside ? 1 : job->depth * driver_count;
    lane->workload = is_beside ? job->beside : job->workload;
    lane->bytes = is_beside ? job->beside_bytes : job->bytes;
    lane->tally = is_beside ? &beside : &driver->main;
    lane->workload->prepare(lane);
}

static void begin_operation(struct lane *lane, uint64_t at_ns)
{
    lane->begun_ns = at_ns;
    lane->workload->begin(lane);
}

/* Takes one reply. Returns true if the lane's operation is done. */
static bool proceed(struct lane *lane, uint32_t used_bytes)
{
    const struct workload *workload = lane->workload;
    const int error = request_check(&lane->request, used_bytes);

    if (error < 0) {
        lane->tally->errors++;
        lane->tally->last_error = error;
        return true;
    }
    return !workload->proceed || workload->proceed(lane);
}

/* Sleeps until the device calls, like a processor of a guest with no other work. */
static void wait_for_call(struct driver *driver)
{
    bool idle = true;
    uint64_t count;

    for (unsigned n = 0; n < driver->ring_count; n++)
        idle = ring_arm(&driver->rings[n]) && idle;
    if (!idle || driver->busy_polling)
        return;
    driver->waits++;
    if (read(driver->rings->call_fd, &count, sizeof(count)) < 0)
        fail_errno("call");
}

void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int n = 0; n < CPU_SETSIZE; n++)
        if (cpu < 0 || cpu == n)
            CPU_SET(n, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        fail_errno("cpu");
}

static void begin_held(const struct guest *guest)
{
    if (held.share_fd >= 0) {
        close(held.share_fd);
        close(held.own_fd);
    }
    held = (struct held){ .own_fd = -1, .share_fd = -1 };
    if (guest->thread == 0)
        return;
    held.own_fd = open_wait_time(getpid());
    held.share_fd = open_wait_time(guest->thread);
}

static void add_held(uint64_t at_ns, uint64_t latency_ns)
{
    if (held.share_fd < 0 || (latency_ns < HELD_STEP_NS && at_ns < held.read_at_ns + HELD_STEP_NS))
        return;
    const uint64_t waited_ns = wait_time_ns(held.own_fd) + wait_time_ns(held.share_fd);
    const uint64_t since_ns = waited_ns - held.waited_ns;
    const uint64_t held_ns = since_ns < latency_ns ? latency_ns - since_ns : 0;

    if (held.read_at_ns > 0 && held_ns > held.max_ns)
        held.max_ns = held_ns;
    held.waited_ns = waited_ns;
    held.read_at_ns = at_ns;
}

/* Keeps all lanes of a driver going until its end, then lets each finish its operation. */
static void *drive(void *of)
{
    struct driver *driver = of;
    unsigned going = driver->lane_count;

    if (driver->cpu >= 0)
        pin(driver->cpu);
    for (unsigned n = 0; n < driver->lane_count; n++)
        begin_operation(&driver->lanes[n], now_ns());
    while (going > 0) {
        bool worked = false;

        for (unsigned n = 0; n < driver->ring_count; n++) {
            uint32_t used_bytes;
            struct lane *lane;

            while ((lane = ring_take(&driver->rings[n], &used_bytes))) {
                worked = true;
                if (!proceed(lane, used_bytes))
                    continue;
                const uint64_t at_ns = now_ns();

                if (driver->measure) {
                    histogram_add(&lane->tally->latency, at_ns - lane->begun_ns);
                    add_held(at_ns, at_ns - lane->begun_ns);
                }
                if (at_ns < driver->end_ns)
                    begin_operation(lane, held.share_fd < 0 ? at_ns : now_ns());
                else
                    going--;
            }
        }
        if (!worked)
            wait_for_call(driver);
    }
    return NULL;
}

/* Runs all drivers until `end_ns`. A single one has no thread of its own. */
static void drive_all(uint64_t end_ns, bool measure)
{
    for (unsigned n = 0; n < driver_count; n++) {
        drivers[n].end_ns = end_ns;
        drivers[n].measure = measure;
        if (driver_count == 1)
            drive(&drivers[n]);
        else if (pthread_create(&drivers[n].thread, NULL, drive, &drivers[n]) != 0)
            fail("no thread for queue %u", n);
    }
    for (unsigned n = 0; driver_count > 1 && n < driver_count; n++)
        pthread_join(drivers[n].thread, NULL);
}

static void set_up_drivers(struct guest *guest, const struct job *job)
{
    const unsigned rings_each = guest->threaded ? 1 : guest->ring_count;

    driver_count = guest->ring_count / rings_each;
    if (driver_count > MAX_DRIVERS || job->depth > MAX_LANES || (job->beside && driver_count > 1))
        fail("too many threads for this run");
    for (unsigned n = 0; n < driver_count; n++) {
        struct driver *driver = &drivers[n];

        memset(&driver->main, 0, sizeof(driver->main));
        driver->rings = &guest->rings[n * rings_each];
        driver->ring_count = rings_each;
        driver->lane_count = job->depth + (job->beside ? 1 : 0);
        driver->busy_polling = guest->busy_polling;
        driver->cpu = guest->spread ? (int)n : -1;
        for (unsigned at = 0; at < driver->lane_count; at++)
            set_up_lane(guest, driver, at, job);
    }
}

/* Adds the tallies of all drivers up in the first one's. */
static const struct tally *add_up(void)
{
    struct tally *sum = &drivers[0].main;

    for (unsigned n = 1; n < driver_count; n++) {
        const struct tally *other = &drivers[n].main;

        histogram_merge(&sum->latency, &other->latency);
        sum->errors += other->errors;
        sum->entries += other->entries;
        if (other->last_error)
            sum->last_error = other->last_error;
    }
    return sum;
}

static double per(uint64_t amount, uint64_t count)
{
    return count == 0 ? 0 : (double)amount / (double)count;
}

static void print_tally(const struct tally *tally, const struct workload *workload, uint32_t bytes, double seconds)
{
    const struct histogram *latency = &tally->latency;
    const double ops = (double)latency->count / seconds;

    printf("\"workload\":\"%s\",\"bytes\":%u,\"ops\":%" PRIu64 ",\"opsPerSec\":%.1f,\"mbPerSec\":%.2f", workload->name,
           bytes, latency->count, ops, workload->moves_data ? ops * bytes / 1e6 : 0);
    printf(",\"entriesPerSec\":%.2f,\"p50Us\":%.2f,\"p99Us\":%.2f,\"maxUs\":%.1f,\"errors\":%" PRIu64
           ",\"lastError\":%d",
           (double)tally->entries / seconds, (double)histogram_at(latency, 0.5) / 1e3,
           (double)histogram_at(latency, 0.99) / 1e3, (double)latency->max_ns / 1e3, tally->errors, tally->last_error);
}

static void print_result(const struct job *job, const struct tally *main, const struct snapshot *from,
                         const struct snapshot *to)
{
    const uint64_t elapsed_ns = to->at_ns - from->at_ns;
    const uint64_t device_ns = to->device_ns - from->device_ns, own_ns = to->own_ns - from->own_ns;
    const uint64_t busy_ns = to->machine.busy_ns - from->machine.busy_ns;
    const uint64_t ours_ns = device_ns + own_ns, ops = main->latency.count;
    const double seconds = (double)elapsed_ns / 1e9;

    printf("{");
    print_tally(main, job->workload, job->bytes, seconds);
    printf(",\"depth\":%u,\"seconds\":%.6f,\"deviceCpuUs\":%.3f,\"guestCpuUs\":%.3f,\"kicksPerOp\":%.3f,"
           "\"callsPerOp\":%.3f",
           job->depth, seconds, per(device_ns, ops) / 1e3, per(own_ns, ops) / 1e3, per(to->kicks - from->kicks, ops),
           per(to->waits - from->waits, ops));
    printf(",\"deviceUserTicks\":%" PRIu64 ",\"deviceKernelTicks\":%" PRIu64,
           to->device.user_ticks - from->device.user_ticks, to->device.kernel_ticks - from->device.kernel_ticks);
    /* Fractions of one processor that other programs of this machine, and other machines, used. */
    printf(",\"othersCpu\":%.3f,\"stolenCpu\":%.3f", busy_ns > ours_ns ? per(busy_ns - ours_ns, elapsed_ns) : 0,
           per(to->machine.stolen_ns - from->machine.stolen_ns, elapsed_ns));
    if (held.share_fd >= 0)
        printf(",\"maxHeldUs\":%.1f", (double)held.max_ns / 1e3);
    if (job->beside) {
        printf(",\"beside\":{");
        print_tally(&beside, job->beside, job->beside_bytes, seconds);
        printf("}");
    }
    printf("}\n");
    fflush(stdout);
}

void run_job(struct guest *guest, const struct job *job)
{
    struct snapshot from, to;

    memset(&beside, 0, sizeof(beside));
    set_up_drivers(guest, job);
    if (job->warm_up_ms > 0)
        drive_all(now_ns() + job->warm_up_ms * 1000000ULL, false);
    for (unsigned n = 0; n < driver_count; n++) {
        drivers[n].main.entries = 0;
        drivers[n].main.errors = 0;
    }
    begin_held(guest);
    from = take_snapshot(guest);
    drive_all(from.at_ns + job->run_ms * 1000000ULL, true);
    to = take_snapshot(guest);
    for (unsigned n = 0; n < driver_count; n++)
        for (unsigned at = 0; at < drivers[n].lane_count; at++)
            drivers[n].lanes[at].workload->clean_up(&drivers[n].lanes[at]);
    print_result(job, add_up(), &from, &to);
}
