import { ioctlCommands } from '../passthrough/files/ioctl-commands.js'

/** Requires that a 32-bit half of an argument, under `mask`, is one of `values`. */
export interface ArgumentRule {
  /** The argument's number, 0 to 5. */
  readonly argument: number
  readonly half: 'low' | 'high'
  readonly mask: number
  readonly values: readonly number[]
}

export type SystemCallRule =
  | { readonly name: string; readonly allow: true }
  /** The call is allowed if every rule holds. */
  | { readonly name: string; readonly when: readonly ArgumentRule[] }
  /** The call fails with this errno, for callers that have another way. */
  | { readonly name: string; readonly errno: number }

const allow = (names: string): readonly SystemCallRule[] =>
  names.split(' ').map((name) => ({ name, allow: true }))

const WHOLE = 0xffff_ffff
const CLONE_THREAD = 0x0001_0000
/** NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWNS. */
const CLONE_NEW = 0x7e02_0000
const ENOSYS = 38
const CLONE_FS = 0x200
const PR_SET_KEEPCAPS = 8
const PR_SET_NAME = 15
const PR_GET_NAME = 16
const PR_SET_VMA = 0x53564d41

/**
 * FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS and TIOCGWINSZ: libuv uses them on sockets and on the log's terminal.
 */
const ioctlsOfNode = [0x541b, 0x5421, 0x5450, 0x5451, 0x5401, 0x5413]

/**
 * F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, the same three for open file descriptions,
 * F_DUPFD_CLOEXEC, F_ADD_SEALS and F_GET_SEALS. Not F_SETOWN, F_SETOWN_EX and F_SETSIG: they send signals.
 */
const fcntlCommands = [0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1033, 1034]

/**
 * Every system call that the sealed process may make, the frequent ones first. The list excludes socket, connect,
 * execve, ptrace, kill, mount, bpf, io_uring_setup and process_vm_readv. io_uring operations bypass this filter: the
 * ring is restricted when it is made (native/src/uring.c).
 */
export const systemCallRules: readonly SystemCallRule[] = [
  // The data path.
  ...allow('preadv2 pwritev2 statx write read epoll_pwait io_uring_enter futex openat close'),
  ...allow('preadv pwritev pread64 pwrite64 readv writev lseek fallocate ftruncate copy_file_range'),
  ...allow('fsync fdatasync syncfs fadvise64'),
  // Paths, below a directory's descriptor.
  ...allow(
    'fstat newfstatat openat2 open_by_handle_at name_to_handle_at getdents64 readlinkat linkat symlinkat',
  ),
  ...allow('unlinkat mkdirat mknodat renameat renameat2 fchmod fchmodat fchmodat2 fchown fchownat utimensat'),
  ...allow('statfs fstatfs umask chdir fchdir'),
  // Node itself uses these to remove a socket and to begin a new trace.
  ...allow('unlink rename'),
  ...allow('getxattr setxattr listxattr removexattr lgetxattr lsetxattr llistxattr lremovexattr'),
  ...allow('fgetxattr fsetxattr flistxattr fremovexattr'),
  // Locks, and descriptors themselves.
  ...allow('flock dup dup3'),
  { name: 'fcntl', when: [{ argument: 1, half: 'low', mask: WHOLE, values: fcntlCommands }] },
  {
    name: 'ioctl',
    when: [{ argument: 1, half: 'low', mask: WHOLE, values: [...ioctlsOfNode, ...ioctlCommands.keys()] }],
  },
  // The identity of the guest's process during a creation. Capabilities can only be reduced.
  ...allow('setresuid setresgid setgroups getgroups getuid geteuid getgid getegid getresuid getresgid'),
  ...allow('capget capset'),
  // Waiting.
  ...allow('epoll_wait epoll_pwait2 epoll_ctl epoll_create1 eventfd2 poll ppoll'),
  ...allow('nanosleep clock_nanosleep restart_syscall sched_yield'),
  // Sockets that already exist: the front-end's, the control socket and its clients.
  ...allow(
    'listen accept accept4 recvmsg sendmsg recvfrom sendto shutdown getsockopt setsockopt getsockname getpeername',
  ),
  // Guest memory, and V8, which makes code at run time.
  ...allow('mmap munmap mprotect mremap madvise brk membarrier mincore pkey_alloc pkey_free pkey_mprotect'),
  // Threads of libuv and of the addon, but no processes and no namespaces. A filter cannot see clone3's flags, which
  // lie in memory; glibc uses clone if clone3 is missing.
  {
    name: 'clone',
    when: [{ argument: 0, half: 'low', mask: CLONE_THREAD | CLONE_NEW, values: [CLONE_THREAD] }],
  },
  { name: 'clone3', errno: ENOSYS },
  // libuv of Node 22 and later asks for a ring for each thread's loop, and does without. Ours are made before the filter.
  { name: 'io_uring_setup', errno: ENOSYS },
  // A share that is added later has a thread of its own, with a loop, a umask and a working directory.
  ...allow('pipe2 getcwd readlink'),
  { name: 'unshare', when: [{ argument: 0, half: 'low', mask: WHOLE, values: [CLONE_FS] }] },
  ...allow('set_robust_list rseq rt_sigprocmask rt_sigaction rt_sigreturn sigaltstack gettid getpid getppid'),
  // abort(3) uses it to dump core after a bug of our own; it cannot reach another process.
  { name: 'tgkill', when: [{ argument: 0, half: 'low', mask: WHOLE, values: [process.pid] }] },
  ...allow('exit exit_group sched_getaffinity sched_getparam sched_getscheduler'),
  {
    name: 'prctl',
    when: [
      {
        argument: 0,
        half: 'low',
        mask: WHOLE,
        values: [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_SET_KEEPCAPS],
      },
    ],
  },
  // Limits may be read, but not set: the address of the new limits must be null.
  {
    name: 'prlimit64',
    when: [
      { argument: 2, half: 'low', mask: WHOLE, values: [0] },
      { argument: 2, half: 'high', mask: WHOLE, values: [0] },
    ],
  },
  ...allow('clock_gettime clock_getres gettimeofday time times getrandom getrusage sysinfo uname'),
]
