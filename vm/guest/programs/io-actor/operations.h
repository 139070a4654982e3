#pragma once

/* The outcome of an operation: a value or a negative errno; `text`, if set, replaces the value. */
struct outcome {
    long value;
    char text[2048];
};

/* Carries out one line. May be called by several threads at once. */
void operate(const char *line, struct outcome *outcome);

/* The descriptor of an open file, or -ENOENT. */
int fd_of(const char *name);

/* Prints it as a JSON object, without a line break. */
void print_outcome(const struct outcome *outcome);
