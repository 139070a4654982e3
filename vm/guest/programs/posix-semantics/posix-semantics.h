/* Shared by the parts of posix-semantics. Each part works in the current directory, on names of its own. */
#ifndef POSIX_SEMANTICS_H
#define POSIX_SEMANTICS_H

#include <stdbool.h>
#include <sys/types.h>

/* Prints a result, or the errno's name if it is negative. */
void say(const char *what, long result);
/* Prints an expression and its result. */
#define TRY(call) say(#call, (long)(call))

/* Sets the effective user, group and one supplementary group (0: none) for the calls that follow. */
void become(uid_t uid, gid_t gid, gid_t group);
void become_root(void);

void make_file(const char *path, mode_t mode, uid_t uid, gid_t gid);
void make_directory(const char *path, mode_t mode, uid_t uid, gid_t gid);

/* Prints mode, owner and links. */
void say_mode(const char *what, const char *path);
/* Prints which times of a path have changed since watch. */
void watch(const char *path);
void say_touched(const char *what, const char *path);

void check_names(void);
void check_permissions(void);
void check_times(void);
void check_open_files(void);

#endif
