/* Ends the program with one line about what went wrong. */
#ifndef FAIL_H
#define FAIL_H

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* The same for a system call that failed, with the kernel's reason. */
__attribute__((noreturn)) void fail_errno(const char *what);

#endif
