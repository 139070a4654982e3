/* Giving up system calls: their numbers on this machine, and the filter that holds for every thread. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

#ifdef __x86_64__
#define THIS_ARCH AUDIT_ARCH_X86_64
#else
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

#define CALL(name) { #name, SYS_##name }

/* Those that src/sandbox/system-calls.ts names. One that is missing here does not exist on this architecture. */
static const struct {
    const char *name;
    int64_t number;
} calls[] = {
#ifdef SYS_accept
    CALL(accept),
#endif
#ifdef SYS_accept4
    CALL(accept4),
#endif
#ifdef SYS_brk
    CALL(brk),
#endif
#ifdef SYS_capget
    CALL(capget),
#endif
#ifdef SYS_capset
    CALL(capset),
#endif
#ifdef SYS_chdir
    CALL(chdir),
#endif
#ifdef SYS_clock_getres
    CALL(clock_getres),
#endif
#ifdef SYS_clock_gettime
    CALL(clock_gettime),
#endif
#ifdef SYS_clock_nanosleep
    CALL(clock_nanosleep),
#endif
#ifdef SYS_clone
    CALL(clone),
#endif
#ifdef SYS_clone3
    CALL(clone3),
#endif
#ifdef SYS_close
    CALL(close),
#endif
#ifdef SYS_copy_file_range
    CALL(copy_file_range),
#endif
#ifdef SYS_dup
    CALL(dup),
#endif
#ifdef SYS_dup3
    CALL(dup3),
#endif
#ifdef SYS_epoll_create1
    CALL(epoll_create1),
#endif
#ifdef SYS_epoll_ctl
    CALL(epoll_ctl),
#endif
#ifdef SYS_epoll_pwait
    CALL(epoll_pwait),
#endif
#ifdef SYS_epoll_pwait2
    CALL(epoll_pwait2),
#endif
#ifdef SYS_epoll_wait
    CALL(epoll_wait),
#endif
#ifdef SYS_eventfd2
    CALL(eventfd2),
#endif
#ifdef SYS_exit
    CALL(exit),
#endif
#ifdef SYS_exit_group
    CALL(exit_group),
#endif
#ifdef SYS_fadvise64
    CALL(fadvise64),
#endif
#ifdef SYS_fallocate
    CALL(fallocate),
#endif
#ifdef SYS_fchdir
    CALL(fchdir),
#endif
#ifdef SYS_fchmod
    CALL(fchmod),
#endif
#ifdef SYS_fchmodat
    CALL(fchmodat),
#endif
#ifdef SYS_fchmodat2
    CALL(fchmodat2),
#endif
#ifdef SYS_fchown
    CALL(fchown),
#endif
#ifdef SYS_fchownat
    CALL(fchownat),
#endif
#ifdef SYS_fcntl
    CALL(fcntl),
#endif
#ifdef SYS_fdatasync
    CALL(fdatasync),
#endif
#ifdef SYS_fgetxattr
    CALL(fgetxattr),
#endif
#ifdef SYS_flistxattr
    CALL(flistxattr),
#endif
#ifdef SYS_flock
    CALL(flock),
#endif
#ifdef SYS_fremovexattr
    CALL(fremovexattr),
#endif
#ifdef SYS_fsetxattr
    CALL(fsetxattr),
#endif
#ifdef SYS_fstat
    CALL(fstat),
#endif
#ifdef SYS_fstatfs
    CALL(fstatfs),
#endif
#ifdef SYS_fsync
    CALL(fsync),
#endif
#ifdef SYS_ftruncate
    CALL(ftruncate),
#endif
#ifdef SYS_futex
    CALL(futex),
#endif
#ifdef SYS_getdents64
    CALL(getdents64),
#endif
#ifdef SYS_getegid
    CALL(getegid),
#endif
#ifdef SYS_geteuid
    CALL(geteuid),
#endif
#ifdef SYS_getgid
    CALL(getgid),
#endif
#ifdef SYS_getgroups
    CALL(getgroups),
#endif
#ifdef SYS_getpeername
    CALL(getpeername),
#endif
#ifdef SYS_getpid
    CALL(getpid),
#endif
#ifdef SYS_getppid
    CALL(getppid),
#endif
#ifdef SYS_getrandom
    CALL(getrandom),
#endif
#ifdef SYS_getresgid
    CALL(getresgid),
#endif
#ifdef SYS_getresuid
    CALL(getresuid),
#endif
#ifdef SYS_getrusage
    CALL(getrusage),
#endif
#ifdef SYS_getsockname
    CALL(getsockname),
#endif
#ifdef SYS_getsockopt
    CALL(getsockopt),
#endif
#ifdef SYS_gettid
    CALL(gettid),
#endif
#ifdef SYS_gettimeofday
    CALL(gettimeofday),
#endif
#ifdef SYS_getuid
    CALL(getuid),
#endif
#ifdef SYS_getxattr
    CALL(getxattr),
#endif
#ifdef SYS_io_uring_enter
    CALL(io_uring_enter),
#endif
#ifdef SYS_ioctl
    CALL(ioctl),
#endif
#ifdef SYS_lgetxattr
    CALL(lgetxattr),
#endif
#ifdef SYS_linkat
    CALL(linkat),
#endif
#ifdef SYS_listxattr
    CALL(listxattr),
#endif
#ifdef SYS_llistxattr
    CALL(llistxattr),
#endif
#ifdef SYS_lremovexattr
    CALL(lremovexattr),
#endif
#ifdef SYS_lseek
    CALL(lseek),
#endif
#ifdef SYS_lsetxattr
    CALL(lsetxattr),
#endif
#ifdef SYS_madvise
    CALL(madvise),
#endif
#ifdef SYS_membarrier
    CALL(membarrier),
#endif
#ifdef SYS_mincore
    CALL(mincore),
#endif
#ifdef SYS_mkdirat
    CALL(mkdirat),
#endif
#ifdef SYS_mknodat
    CALL(mknodat),
#endif
#ifdef SYS_mmap
    CALL(mmap),
#endif
#ifdef SYS_mprotect
    CALL(mprotect),
#endif
#ifdef SYS_mremap
    CALL(mremap),
#endif
#ifdef SYS_munmap
    CALL(munmap),
#endif
#ifdef SYS_name_to_handle_at
    CALL(name_to_handle_at),
#endif
#ifdef SYS_nanosleep
    CALL(nanosleep),
#endif
#ifdef SYS_newfstatat
    CALL(newfstatat),
#endif
#ifdef SYS_open_by_handle_at
    CALL(open_by_handle_at),
#endif
#ifdef SYS_openat
    CALL(openat),
#endif
#ifdef SYS_openat2
    CALL(openat2),
#endif
#ifdef SYS_pkey_alloc
    CALL(pkey_alloc),
#endif
#ifdef SYS_pkey_free
    CALL(pkey_free),
#endif
#ifdef SYS_pkey_mprotect
    CALL(pkey_mprotect),
#endif
#ifdef SYS_poll
    CALL(poll),
#endif
#ifdef SYS_ppoll
    CALL(ppoll),
#endif
#ifdef SYS_prctl
    CALL(prctl),
#endif
#ifdef SYS_pread64
    CALL(pread64),
#endif
#ifdef SYS_preadv
    CALL(preadv),
#endif
#ifdef SYS_preadv2
    CALL(preadv2),
#endif
#ifdef SYS_prlimit64
    CALL(prlimit64),
#endif
#ifdef SYS_pwrite64
    CALL(pwrite64),
#endif
#ifdef SYS_pwritev
    CALL(pwritev),
#endif
#ifdef SYS_pwritev2
    CALL(pwritev2),
#endif
#ifdef SYS_read
    CALL(read),
#endif
#ifdef SYS_readlinkat
    CALL(readlinkat),
#endif
#ifdef SYS_readv
    CALL(readv),
#endif
#ifdef SYS_recvfrom
    CALL(recvfrom),
#endif
#ifdef SYS_recvmsg
    CALL(recvmsg),
#endif
#ifdef SYS_removexattr
    CALL(removexattr),
#endif
#ifdef SYS_renameat
    CALL(renameat),
#endif
#ifdef SYS_renameat2
    CALL(renameat2),
#endif
#ifdef SYS_restart_syscall
    CALL(restart_syscall),
#endif
#ifdef SYS_rseq
    CALL(rseq),
#endif
#ifdef SYS_rt_sigaction
    CALL(rt_sigaction),
#endif
#ifdef SYS_rt_sigprocmask
    CALL(rt_sigprocmask),
#endif
#ifdef SYS_rt_sigreturn
    CALL(rt_sigreturn),
#endif
#ifdef SYS_sched_getaffinity
    CALL(sched_getaffinity),
#endif
#ifdef SYS_sched_getparam
    CALL(sched_getparam),
#endif
#ifdef SYS_sched_getscheduler
    CALL(sched_getscheduler),
#endif
#ifdef SYS_sched_yield
    CALL(sched_yield),
#endif
#ifdef SYS_sendmsg
    CALL(sendmsg),
#endif
#ifdef SYS_sendto
    CALL(sendto),
#endif
#ifdef SYS_set_robust_list
    CALL(set_robust_list),
#endif
#ifdef SYS_setgroups
    CALL(setgroups),
#endif
#ifdef SYS_setresgid
    CALL(setresgid),
#endif
#ifdef SYS_setresuid
    CALL(setresuid),
#endif
#ifdef SYS_setsockopt
    CALL(setsockopt),
#endif
#ifdef SYS_setxattr
    CALL(setxattr),
#endif
#ifdef SYS_shutdown
    CALL(shutdown),
#endif
#ifdef SYS_sigaltstack
    CALL(sigaltstack),
#endif
#ifdef SYS_statfs
    CALL(statfs),
#endif
#ifdef SYS_statx
    CALL(statx),
#endif
#ifdef SYS_symlinkat
    CALL(symlinkat),
#endif
#ifdef SYS_syncfs
    CALL(syncfs),
#endif
#ifdef SYS_sysinfo
    CALL(sysinfo),
#endif
#ifdef SYS_tgkill
    CALL(tgkill),
#endif
#ifdef SYS_time
    CALL(time),
#endif
#ifdef SYS_times
    CALL(times),
#endif
#ifdef SYS_unlink
    CALL(unlink),
#endif
#ifdef SYS_rename
    CALL(rename),
#endif
#ifdef SYS_umask
    CALL(umask),
#endif
#ifdef SYS_uname
    CALL(uname),
#endif
#ifdef SYS_unlinkat
    CALL(unlinkat),
#endif
#ifdef SYS_utimensat
    CALL(utimensat),
#endif
#ifdef SYS_write
    CALL(write),
#endif
#ifdef SYS_writev
    CALL(writev),
#endif
    { "AUDIT_ARCH", THIS_ARCH },
};

/*
 * seccompInstall(program): 0; `program` (Uint8Array) is an array of struct sock_filter, and holds for every thread from
 * now on. ESRCH: some thread has a filter of its own.
 */
static napi_value seccomp_install(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint8_t *bytes;
    size_t len_bytes;
    struct sock_fprog program;
    long result;

    if (!args_get(env, info, argv, 1) || !arg_bytes(env, argv[0], &bytes, &len_bytes))
        return NULL;
    if (len_bytes == 0 || len_bytes % sizeof(struct sock_filter) != 0 ||
        len_bytes / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return ret_int(env, -EINVAL);
    program.len = (unsigned short)(len_bytes / sizeof(struct sock_filter));
    program.filter = (struct sock_filter *)bytes;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ret_errno(env, -1);
    /*
     * No program of others runs in here that could be kept from guessing at addresses: Linux before 5.16 would switch
     * that speculation off for every thread with a filter, which costs far more than the filter.
     */
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
    return result > 0 ? ret_int(env, -ESRCH) : ret_errno(env, result);
}

bool register_seccomp(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = { METHOD("seccompInstall", seccomp_install) };
    napi_value numbers;

    if (napi_create_object(env, &numbers) != napi_ok)
        return false;
    for (size_t n = 0; n < COUNT_OF(calls); n++)
        if (napi_set_named_property(env, numbers, calls[n].name, ret_int(env, calls[n].number)) != napi_ok)
            return false;
    return napi_object_freeze(env, numbers) == napi_ok &&
           napi_set_named_property(env, exports, "systemCalls", numbers) == napi_ok &&
           napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
