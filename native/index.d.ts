/**
 * Linux system calls that Node.js lacks.
 *
 * Every function returns a value >= 0, or a negative errno. A wrong type or an integer out of range is a bug of the
 * caller and throws a TypeError or RangeError. Names are passed as `(name, at)`: a Uint8Array and the byte at which a
 * NUL-terminated string starts. Descriptors that a function returns belong to the caller and are close-on-exec.
 */

/** A guest memory of this thread, by number. */
export type Memory = number

// ---- sockets ----

/** Binds and listens; the socket file gets `mode`. Errors: EADDRINUSE and what bind(2) gives. */
export function unixListen(path: string, mode: number): number
/**
 * Connects to the socket file. With O_NONBLOCK in `flags` it never waits. Errors: ENOENT, ECONNREFUSED, EAGAIN (the
 * listener's backlog is full) and what connect(2) gives.
 */
export function unixConnect(path: string, flags: number): number
/** A datagram socket in non-blocking mode, connected to the socket file. Errors: ENOENT, ECONNREFUSED, EPROTOTYPE. */
export function unixDatagramConnect(path: string): number
/**
 * Writes the path of a listening unix socket to `out` and returns its bytes; 0 when it has none. Errors: EBADF, ENOTSOCK,
 * EINVAL for a socket that does not listen or is of another family.
 */
export function unixListenerPath(fd: number, out: Uint8Array): number
/** Accepts one connection; blocks unless the listener is in non-blocking mode. */
export function unixAccept(listenFd: number): number
/** Two connected sockets, in `out[0]` and `out[1]`. */
export function unixPair(out: Int32Array): number
/** sendmsg(2) with `fdCount` descriptors, which stay the caller's. Returns bytes sent. */
export function sendMessage(
  fd: number,
  bytes: Uint8Array,
  at: number,
  lenBytes: number,
  fds: Int32Array,
  fdCount: number,
  flags: number,
): number
/**
 * recvmsg(2). Returns bytes read, 0 at the end of the stream. `fds` holds at least 254 elements: fds[0] takes the
 * number of descriptors that came along, fds[1...] the descriptors, which are the caller's from here on.
 */
export function receiveMessage(
  fd: number,
  bytes: Uint8Array,
  at: number,
  lenBytes: number,
  fds: Int32Array,
  flags: number,
): number

// ---- guest memory ----

/** A memory without regions. Errors: EMFILE (64 a thread), ENOMEM. */
export function memoryCreate(): Memory
/** Unmaps every region and detaches every window. */
export function memoryDestroy(memory: Memory): number
/**
 * Maps `sizeBytes` of `fd` from `fileOffsetBytes` as guest-physical addresses from `gpa`. `fd` stays the caller's.
 * Errors: EFBIG (the file ends before the region does), EEXIST (overlap), ENOSPC (512 regions), and what mmap(2) gives.
 */
export function memoryAdd(
  memory: Memory,
  fd: number,
  gpa: number,
  sizeBytes: number,
  fileOffsetBytes: number,
): number
/** Detaches the windows of the region that starts at `gpa`, clears its watches, unmaps it. Errors: ENOENT. */
export function memoryRemove(memory: Memory, gpa: number): number
/** An ArrayBuffer over guest memory, detached when its region goes. -EFAULT when no single region holds the range. */
export function memoryWindow(memory: Memory, gpa: number, lenBytes: number): ArrayBuffer | number
/** Detaches one window of the region that holds `gpa`. Errors: ENOENT. */
export function memoryCloseWindow(memory: Memory, gpa: number, window: ArrayBuffer): number
/** Lets memorySpin look at the 16-bit word at `gpa`, as number `slot` (0-255); gpa -1 clears it. Errors: EFAULT. */
export function memoryWatch(memory: Memory, slot: number, gpa: number): number
/** 1 as soon as a watched word differs from seen[slot] or asyncReap has a result, 0 after `spinNs` nanoseconds. */
export function memorySpin(memory: Memory, seen: Uint16Array, spinNs: number): number
/** How often the kernel has taken the processor from this thread, which wanted to go on, for another. */
export function preemptions(): number

/**
 * The four below work on the bytes [skipBytes, skipBytes + lenBytes) of segments [first, end) of `segments`, pairs
 * [gpa, lenBytes]. Errors: EFAULT (outside guest memory).
 */
/** preadv2(2) from `fd` at `offsetBytes` straight into guest memory. Returns bytes read: fewer than asked at the end of the file. */
export function guestPreadv(
  memory: Memory,
  segments: Float64Array,
  first: number,
  end: number,
  skipBytes: number,
  lenBytes: number,
  fd: number,
  offsetBytes: number,
  flags: number,
): number
/** pwritev2(2) to `fd` at `offsetBytes` straight from guest memory. Returns bytes written. */
export function guestPwritev(
  memory: Memory,
  segments: Float64Array,
  first: number,
  end: number,
  skipBytes: number,
  lenBytes: number,
  fd: number,
  offsetBytes: number,
  flags: number,
): number
/** Copies guest memory to `bytes` from byte `at`. Returns lenBytes; -EFAULT also when the segments are shorter. */
export function guestRead(
  memory: Memory,
  segments: Float64Array,
  first: number,
  end: number,
  skipBytes: number,
  lenBytes: number,
  bytes: Uint8Array,
  at: number,
): number
/** Copies `bytes` from byte `at` to guest memory. Returns lenBytes; -EFAULT also when the segments are shorter. */
export function guestWrite(
  memory: Memory,
  segments: Float64Array,
  first: number,
  end: number,
  skipBytes: number,
  lenBytes: number,
  bytes: Uint8Array,
  at: number,
): number

// ---- waiting ----

/** eventfd(2) with counter 0. */
export function eventfdCreate(flags: number): number
/** Adds 1 to an eventfd. */
export function eventfdSignal(fd: number): number
/** The same for a descriptor in blocking mode: -EAGAIN when the write would block. */
export function eventfdSignalPolled(fd: number): number
/** Resets a non-blocking eventfd; 0 also when it was not signalled. */
export function eventfdDrain(fd: number): number
export function epollCreate(): number
/** `tag` (u32) comes back from epollWait. */
export function epollAdd(epollFd: number, fd: number, events: number, tag: number): number
export function epollDelete(epollFd: number, fd: number): number
/** Blocks up to `timeoutMs` (-1: no limit). Returns the number of pairs [tag, events] in `out`. Errors: EINTR. */
export function epollWait(epollFd: number, timeoutMs: number, out: Uint32Array): number

/**
 * Calls `callback` from Node's own event loop as long as `fd` is readable, which keeps that loop alive. Returns a number
 * for `pollStop`. Errors: EMFILE (64 a thread), and those of epoll_ctl(2).
 */
export function pollStart(fd: number, callback: () => void): number
/** To be called before the descriptor is closed. Errors: ENOENT. */
export function pollStop(watcher: number): number

// ---- names in a directory ----

export function openat(dirFd: number, name: Uint8Array, at: number, flags: number, mode: number): number
export function openat2(
  dirFd: number,
  name: Uint8Array,
  at: number,
  flags: number,
  mode: number,
  resolve: number,
): number
/** `out` takes a struct statx, 256 bytes. */
export function statx(
  dirFd: number,
  name: Uint8Array,
  at: number,
  flags: number,
  mask: number,
  out: Uint8Array | Int32Array,
): number
/** statx(2) of what `fd` itself stands for; O_PATH will do. */
export function fstatx(fd: number, mask: number, out: Uint8Array | Int32Array): number
export function mkdirat(dirFd: number, name: Uint8Array, at: number, mode: number): number
/** `dev` in the kernel's own 32-bit encoding, which is also that of FUSE. */
export function mknodat(dirFd: number, name: Uint8Array, at: number, mode: number, dev: number): number
export function symlinkat(
  target: Uint8Array,
  targetAt: number,
  dirFd: number,
  name: Uint8Array,
  at: number,
): number
export function unlinkat(dirFd: number, name: Uint8Array, at: number, flags: number): number
export function renameat2(
  oldDirFd: number,
  oldName: Uint8Array,
  oldAt: number,
  newDirFd: number,
  newName: Uint8Array,
  newAt: number,
  flags: number,
): number
/** Bytes of the target in `out` from `outAt`, not terminated. The empty name reads what `dirFd` itself stands for. */
export function readlinkat(
  dirFd: number,
  name: Uint8Array,
  at: number,
  out: Uint8Array,
  outAt: number,
): number
/**
 * Bytes of the file handle; `out` (at least 136 bytes) takes [mount id, handle type] as 32-bit words and the handle.
 * Errors: EOPNOTSUPP, EOVERFLOW (this file system has none).
 */
export function nameToHandleAt(
  dirFd: number,
  name: Uint8Array,
  at: number,
  flags: number,
  out: Uint8Array,
): number

// ---- what an O_PATH descriptor stands for; procFd is a descriptor of /proc/self/fd ----

export function inodeOpen(procFd: number, fd: number, flags: number): number
/** The same for a descriptor in blocking mode. Errors: EAGAIN (a lease has to be given up first, and its holder is told). */
export function inodeOpenAtOnce(procFd: number, fd: number, flags: number): number
/** `handle` is [handle type (32 bits), handle], as nameToHandleAt gave it from byte 4. Needs CAP_DAC_READ_SEARCH. */
export function inodeOpenByHandle(mountFd: number, handle: Uint8Array, flags: number): number
/** Bytes of the path by which the host knows it now, in `out`, not terminated; " (deleted)" ends that of a lost name. */
export function inodePath(procFd: number, fd: number, out: Uint8Array): number
export function inodeChmod(procFd: number, fd: number, mode: number): number
/** -1 leaves an id as it is. */
export function inodeChown(fd: number, uid: number, gid: number): number
/** Times in seconds and nanoseconds; nanoseconds may be UTIME_NOW or UTIME_OMIT. */
export function inodeUtimens(
  procFd: number,
  fd: number,
  atimeSec: number,
  atimeNsec: number,
  mtimeSec: number,
  mtimeNsec: number,
): number
export function inodeLink(
  procFd: number,
  fd: number,
  newDirFd: number,
  newName: Uint8Array,
  newAt: number,
): number

// ---- directories ----

/** Bytes of struct linux_dirent64 records in `out`, 0 at the end. */
export function getdents64(fd: number, out: Uint8Array): number
/** Moves to a position that getdents64 gave, in 32-bit halves. */
export function seekDirectory(fd: number, low: number, high: number): number

// ---- open files ----

export function close(fd: number): number
export function dup(fd: number): number
export function statusFlags(fd: number): number
export function setStatusFlags(fd: number, flags: number): number
/** Sets the limit of open files, as far as this process may; 0 leaves it. Returns the limit now in force. */
export function setFileLimit(limit: number): number
/** Shared memory that can be passed to another process and cannot shrink. */
export function memfdCreate(sizeBytes: number): number
export function fsync(fd: number): number
export function fdatasync(fd: number): number
export function syncfs(fd: number): number
export function ftruncate(fd: number, sizeBytes: number): number
export function fallocate(fd: number, mode: number, offsetBytes: number, lenBytes: number): number
/** Returns the new offset. */
export function lseek(fd: number, offsetBytes: number, whence: number): number
/** Returns bytes copied. */
export function copyFileRange(
  inFd: number,
  inOffsetBytes: number,
  outFd: number,
  outOffsetBytes: number,
  lenBytes: number,
): number
/** `out` takes a struct statfs, 120 bytes. */
export function fstatfs(fd: number, out: Uint8Array | Int32Array): number
// ---- locks; none of these waits ----

/** Takes an exclusive lock that lasts as long as the open file. Errors: EAGAIN (another process holds it). */
export function lockFile(fd: number): number
/**
 * ioctl(2) with a request whose number tells the size of its argument. What the call returns, mostly 0. Errors: EINVAL (the
 * argument is shorter than the request says).
 */
export function ioctl(fd: number, request: number, argument: Uint8Array): number
/** flock(2) with LOCK_SH, LOCK_EX or LOCK_UN. Errors: EAGAIN (another open file is in the way). */
export function flock(fd: number, operation: number): number
/** F_OFD_SETLK: a lock that belongs to the open file; `lenBytes` 0 reaches to the end. Errors: EAGAIN. */
export function setRangeLock(fd: number, type: number, startBytes: number, lenBytes: number): number
/** F_OFD_GETLK: 0, or 1 with [type, startBytes, lenBytes, pid] of a lock in the way; pid -1 for one of an open file. */
export function getRangeLock(
  fd: number,
  type: number,
  startBytes: number,
  lenBytes: number,
  out: Float64Array,
): number

// ---- extended attributes of what a descriptor stands for; the thread's working directory must be /proc/self/fd ----

/** fchdir(2), for a thread that has called detachFs. */
export function enterDirectory(fd: number): number
/** Bytes of the value in `out` from `outAt`; with `lenBytes` 0 only their number. Errors: ENODATA, ERANGE, EOPNOTSUPP. */
export function inodeGetxattr(
  fd: number,
  name: Uint8Array,
  nameAt: number,
  out: Uint8Array,
  outAt: number,
  lenBytes: number,
): number
export function inodeSetxattr(
  fd: number,
  name: Uint8Array,
  nameAt: number,
  value: Uint8Array,
  valueAt: number,
  lenBytes: number,
  flags: number,
): number
/** Bytes of the names in `out` from `outAt`, each with its NUL; with `lenBytes` 0 only their number. Errors: ERANGE. */
export function inodeListxattr(fd: number, out: Uint8Array, outAt: number, lenBytes: number): number
export function inodeRemovexattr(fd: number, name: Uint8Array, nameAt: number): number

// ---- system calls whose results come later; one engine a thread ----

/**
 * Starts this thread's engine: io_uring where the kernel has it and allows it, and up to `maxThreads` helper threads for
 * the rest, started when there is work for them. 1 with io_uring, 0 without. Errors: EBUSY (there is one already).
 */
export function asyncCreate(useUring: 0 | 1, maxThreads: number): number
/** Readable while results wait. Errors: ENOENT (no io_uring). */
export function asyncUringFd(): number
/** Readable while results wait. */
export function asyncPoolFd(): number
/**
 * Starts a preadv2 (kind ASYNC_READ) or pwritev2 (ASYNC_WRITE) on guest memory; `token` (u32) comes back with the result,
 * which may be short. The memory must stay mapped and `fd` open until then.
 */
export function asyncTransfer(
  kind: number,
  token: number,
  memory: Memory,
  segments: Float64Array,
  first: number,
  end: number,
  skipBytes: number,
  lenBytes: number,
  fd: number,
  offsetBytes: number,
  flags: number,
): number
/** Starts ASYNC_FSYNC, ASYNC_FDATASYNC, ASYNC_FALLOCATE (`flags` is its mode) or ASYNC_SYNCFS. */
export function asyncFile(
  kind: number,
  token: number,
  fd: number,
  flags: number,
  offsetBytes: number,
  lenBytes: number,
): number
export function asyncCopyRange(
  token: number,
  inFd: number,
  inOffsetBytes: number,
  outFd: number,
  outOffsetBytes: number,
  lenBytes: number,
): number
/**
 * Hands to the kernel what was started since; nothing begins before. Returns how much of it the kernel does not take now
 * (it has no memory, or results that have to be taken first): ask again.
 */
export function asyncSubmit(): number
/**
 * Gives up what has not begun: of a kind, or with 255 everything. Its results are ECANCELED. What io_uring has begun and
 * can be interrupted ends with EINTR. Returns 0.
 */
export function asyncCancel(kind: number): number
/** The number of pairs [token, result] in `out`; results are >= 0 or a negative errno. */
export function asyncReap(out: Int32Array): number

// ---- this thread ----

/**
 * Becomes another user for the system calls that follow: supplementary groups [group] (-1: leave them), then gid, then
 * uid. Of the effective capabilities CAP_DAC_OVERRIDE stays if it was there. On an error nothing is changed. Errors: EPERM (no CAP_SETUID or CAP_SETGID), EINVAL (an id of -1).
 */
export function credentialsEnter(uid: number, gid: number, group: number): number
/** Undoes credentialsEnter; ends the process if that fails. */
export function credentialsLeave(): number
/** Gives up every supplementary group of this thread. Errors: EPERM. */
export function dropGroups(): number
/** Effective capabilities 0 to 31, as a bit mask. */
export function capabilities(): number
/** From now on this thread's umask and working directory are its own. */
export function detachFs(): number
/** Returns the mask before. */
export function umask(mode: number): number
/** Ends the process at once, without waiting for other threads. */
export function exitNow(status: number): never

/** Numbers from the system's headers, those of this machine's architecture. */
export const constants: Readonly<{
  ASYNC_READ: number
  ASYNC_WRITE: number
  ASYNC_FSYNC: number
  ASYNC_FDATASYNC: number
  ASYNC_FALLOCATE: number
  ASYNC_SYNCFS: number
  ASYNC_COPY_RANGE: number
  AUDIT_ARCH: number
  AT_EMPTY_PATH: number
  AT_FDCWD: number
  AT_REMOVEDIR: number
  AT_SYMLINK_NOFOLLOW: number
  EFD_NONBLOCK: number
  EPOLLERR: number
  EPOLLET: number
  EPOLLHUP: number
  EPOLLIN: number
  EPOLLRDHUP: number
  F_RDLCK: number
  F_UNLCK: number
  F_WRLCK: number
  FALLOC_FL_KEEP_SIZE: number
  FALLOC_FL_PUNCH_HOLE: number
  FALLOC_FL_COLLAPSE_RANGE: number
  FALLOC_FL_ZERO_RANGE: number
  FALLOC_FL_INSERT_RANGE: number
  FALLOC_FL_UNSHARE_RANGE: number
  LOCK_EX: number
  LOCK_SH: number
  LOCK_UN: number
  MSG_DONTWAIT: number
  O_ACCMODE: number
  O_APPEND: number
  O_CLOEXEC: number
  O_CREAT: number
  O_DIRECT: number
  O_DIRECTORY: number
  O_DSYNC: number
  O_EXCL: number
  O_NOATIME: number
  O_NOCTTY: number
  O_NOFOLLOW: number
  O_NONBLOCK: number
  O_PATH: number
  O_RDONLY: number
  O_RDWR: number
  O_SYNC: number
  O_TMPFILE: number
  O_TRUNC: number
  O_WRONLY: number
  RENAME_EXCHANGE: number
  RENAME_NOREPLACE: number
  RENAME_WHITEOUT: number
  RESOLVE_BENEATH: number
  RESOLVE_NO_MAGICLINKS: number
  RESOLVE_NO_SYMLINKS: number
  RESOLVE_NO_XDEV: number
  RWF_APPEND: number
  RWF_DSYNC: number
  RWF_HIPRI: number
  RWF_NOWAIT: number
  RWF_SYNC: number
  SEEK_DATA: number
  SEEK_HOLE: number
  SEEK_SET: number
  SEEK_CUR: number
  SEEK_END: number
  STATX_BASIC_STATS: number
  STATX_BTIME: number
  STATX_MNT_ID: number
  S_IFMT: number
  S_IFREG: number
  S_IFDIR: number
  S_IFLNK: number
  S_IFSOCK: number
  URING_RESULTS: number
  UTIME_NOW: number
  UTIME_OMIT: number
  XATTR_CREATE: number
  XATTR_REPLACE: number
}>

// ---- the process ----

/** The program that makes namespaces, mounts and privileges for another, and supervises it. */
export const launcherPath: string
/**
 * Writes `bytes` from `at` on, at most 4096 of them, as far as there is room now: never waits for a reader. Returns the
 * number of bytes. Errors: EAGAIN, EPIPE and those of write(2).
 */
export function writeNow(fd: number, bytes: Uint8Array, at: number): number
/**
 * Keeps SIGTERM, SIGINT, SIGHUP, SIGQUIT and SIGUSR1 pending from now on, for the program that this process becomes.
 * Returns 0.
 */
export function putOffSignals(): number
/**
 * Becomes the program at the path words[0], which gets `words` as its arguments and inherits the descriptors `fds`.
 * Returns a negative errno, or not at all.
 */
export function becomeProgram(words: readonly string[], fds: Int32Array): number
/**
 * Asks the launcher at the other end of `fd` to take the old root away from this process. 0 once it has. Errors: EPIPE
 * (it is gone), and those of pivot_root(2) and chroot(2).
 */
export function sealRequest(fd: number): number
/** The number of a system call, by its name without SYS_. Errors: ENOSYS (this architecture has no such call). */
export function systemCallNumber(name: string): number
/** Installs a seccomp filter, an array of struct sock_filter, on every thread. Errors: EINVAL, ESRCH (see seccomp(2)). */
export function seccompInstall(program: Uint8Array): number
