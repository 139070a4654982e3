#include "histogram.h"

/* Values below HISTOGRAM_STEPS have a place each; for larger ones the top seven bits choose the place. */
static unsigned place_of(uint64_t ns)
{
    unsigned power;

    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    power = 63U - (unsigned)__builtin_clzll(ns) - 6U;
    if (power >= HISTOGRAM_POWERS - 1)
        return HISTOGRAM_POWERS * HISTOGRAM_STEPS - 1;
    return (power + 1) * HISTOGRAM_STEPS + (unsigned)(ns >> power) - HISTOGRAM_STEPS;
}

static uint64_t value_of(unsigned place)
{
    const unsigned power = place / HISTOGRAM_STEPS;

    if (power == 0)
        return place;
    return (uint64_t)(place % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << (power - 1);
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[place_of(ns)]++;
    histogram->count++;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
    for (unsigned place = 0; place < HISTOGRAM_POWERS * HISTOGRAM_STEPS; place++)
        histogram->counts[place] += other->counts[place];
    histogram->count += other->count;
    if (other->max_ns > histogram->max_ns)
        histogram->max_ns = other->max_ns;
}

uint64_t histogram_at(const struct histogram *histogram, double fraction)
{
    uint64_t left = (uint64_t)((double)histogram->count * fraction);

    if (histogram->count == 0)
        return 0;
    for (unsigned place = 0; place < HISTOGRAM_POWERS * HISTOGRAM_STEPS; place++) {
        if (left < histogram->counts[place])
            return value_of(place);
        left -= histogram->counts[place];
    }
    return histogram->max_ns;
}
