#pragma once

#include <errno.h>
#include <stddef.h>

/* The outcome of an operation: a value or a negative errno; `text`, if set, replaces the value. */
struct outcome {
    long value;
    char text[2048];
};

/* The outcome of a system call: its value, or a negative errno. */
static inline long result(long value)
{
    return value < 0 ? -errno : value;
}

/* "65x4096 66x10": the values of bytes and how often each comes in a row. */
void describe_runs(const unsigned char *bytes, size_t len, char *text, size_t text_bytes);

/* Carries out one line. May be called by several threads at once. */
void operate(const char *line, struct outcome *outcome);

/* Prints it as a JSON object, without a line break. */
void print_outcome(const struct outcome *outcome);
