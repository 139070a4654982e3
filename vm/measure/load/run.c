#define _GNU_SOURCE
#include "run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cpu-time.h"
#include "fail.h"

static struct lane lanes[MAX_LANES + 1];
static unsigned lanes_made;

/* The counts up to one moment. */
struct snapshot {
    uint64_t at_ns, device_ns, own_ns, kicks, waits;
    struct split_time device;
    struct machine_time machine;
};

static uint64_t waits;

static struct snapshot take_snapshot(const struct guest *guest)
{
    struct snapshot now = { .at_ns = now_ns(), .own_ns = process_cpu_ns(getpid()), .waits = waits };

    now.machine = machine_time();
    for (unsigned n = 0; n < guest->pid_count; n++) {
        const struct split_time split = process_split_time(guest->pids[n]);

        now.device_ns += process_cpu_ns(guest->pids[n]);
        now.device.user_ticks += split.user_ticks;
        now.device.kernel_ticks += split.kernel_ticks;
    }
    for (unsigned n = 0; n < guest->ring_count; n++)
        now.kicks += guest->rings[n].kicks;
    return now;
}

static void set_up_lane(struct guest *guest, struct lane *lane, const struct job *job, bool beside, struct tally *tally)
{
    const unsigned number = (unsigned)(lane - lanes);

    /* Each lane takes memory once: its requests stay from run to run. */
    if (number >= lanes_made) {
        request_create(&lane->request, &guest->rings[number % guest->ring_count], lane);
        lane->hiprio = &guest->hiprio;
        lane->random = 0x853c49e6748fea9bULL * (number + 1);
        lanes_made++;
    }
    lane->number = beside ? 0 : number;
    lane->count = beside ? 1 : job->depth;
    lane->workload = beside ? job->beside : job->workload;
    lane->bytes = beside ? job->beside_bytes : job->bytes;
    lane->tally = tally;
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
static void wait_for_call(struct guest *guest)
{
    bool idle = true;
    uint64_t count;

    for (unsigned n = 0; n < guest->ring_count; n++)
        idle = ring_arm(&guest->rings[n]) && idle;
    if (!idle || guest->busy_polling)
        return;
    waits++;
    if (read(guest->call_fd, &count, sizeof(count)) < 0)
        fail_errno("call");
}

/* Keeps all lanes going until `end_ns`, then lets each finish its operation. Measures if told to. */
static void drive(struct guest *guest, unsigned lane_count, uint64_t end_ns, bool measure)
{
    unsigned going = lane_count;

    for (unsigned n = 0; n < lane_count; n++)
        begin_operation(&lanes[n], now_ns());
    while (going > 0) {
        bool worked = false;

        for (unsigned n = 0; n < guest->ring_count; n++) {
            uint32_t used_bytes;
            struct lane *lane;

            while ((lane = ring_take(&guest->rings[n], &used_bytes))) {
                worked = true;
                if (!proceed(lane, used_bytes))
                    continue;
                const uint64_t at_ns = now_ns();

                if (measure)
                    histogram_add(&lane->tally->latency, at_ns - lane->begun_ns);
                if (at_ns < end_ns)
                    begin_operation(lane, at_ns);
                else
                    going--;
            }
        }
        if (!worked)
            wait_for_call(guest);
    }
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

static void print_result(const struct job *job, const struct tally *main, const struct tally *beside,
                         const struct snapshot *from, const struct snapshot *to)
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
    if (job->beside) {
        printf(",\"beside\":{");
        print_tally(beside, job->beside, job->beside_bytes, seconds);
        printf("}");
    }
    printf("}\n");
    fflush(stdout);
}

void run_job(struct guest *guest, const struct job *job)
{
    static struct tally main, beside;
    const unsigned lane_count = job->depth + (job->beside ? 1 : 0);
    struct snapshot from, to;

    memset(&main, 0, sizeof(main));
    memset(&beside, 0, sizeof(beside));
    for (unsigned n = 0; n < lane_count; n++)
        set_up_lane(guest, &lanes[n], job, n == job->depth, n == job->depth ? &beside : &main);
    if (job->warm_up_ms > 0)
        drive(guest, lane_count, now_ns() + job->warm_up_ms * 1000000ULL, false);
    main.entries = 0;
    main.errors = 0;
    from = take_snapshot(guest);
    drive(guest, lane_count, from.at_ns + job->run_ms * 1000000ULL, true);
    to = take_snapshot(guest);
    for (unsigned n = 0; n < lane_count; n++)
        lanes[n].workload->clean_up(&lanes[n]);
    print_result(job, &main, &beside, &from, &to);
}
