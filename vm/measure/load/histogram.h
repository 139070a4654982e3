/* Counts of durations, exact to 1.6 percent. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64 /* in each power of two */
#define HISTOGRAM_POWERS 40

struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint32_t counts[HISTOGRAM_POWERS * HISTOGRAM_STEPS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* Adds the counts of another one. */
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* Returns the duration that `fraction` of all do not exceed; 0 if there are none. */
uint64_t histogram_at(const struct histogram *histogram, double fraction);

#endif
