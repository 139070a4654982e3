/* Ends the program with one line that names the error. */
#ifndef FAIL_H
#define FAIL_H

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* For a system call that failed: adds the kernel's reason. */
__attribute__((noreturn)) void fail_errno(const char *what);

#endif
