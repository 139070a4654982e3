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

/**
 * Binds to a port of a numeric address, IPv4 or IPv6 alone, and listens. Port 0 takes a free one. Errors: EADDRINUSE,
 * EADDRNOTAVAIL, EACCES and what bind(2) gives; EINVAL if it is no address.
 */
export function tcpListen(address: string, port: number): number
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
 * Writes the path of a listening unix socket to `out` and returns its length in bytes, or 0 if it has no path.
 * Errors: EBADF, ENOTSOCK, EINVAL for a socket that does not listen or is of another family.
 */
export function unixListenerPath(fd: number, out: Uint8Array): number
/** Accepts one connection. Blocks unless the listener is non-blocking. */
export function unixAccept(listenFd: number): number
/** Makes two connected sockets, in `out[0]` and `out[1]`. */
export function unixPair(out: Int32Array): number
/** The same, for messages that keep their bounds (SOCK_SEQPACKET). */
export function packetPair(out: Int32Array): number
/** sendmsg(2) with `fdCount` descriptors, which the caller keeps. Returns bytes sent. */
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
 * recvmsg(2). Returns bytes read, 0 at the end of the stream. `fds` holds at least 254 elements: fds[0] receives the
 * number of received descriptors, fds[1...] the descriptors themselves, which the caller then owns.
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

/** Makes a memory without regions. Errors: EMFILE (64 per thread), ENOMEM. */
export function memoryCreate(): Memory
/** Unmaps every region and detaches every window. */
export function memoryDestroy(memory: Memory): number
/**
 * Maps `sizeBytes` of `fd` from `fileOffsetBytes` as guest-physical addresses from `gpa`. The caller keeps `fd`.
 * Errors: EFBIG (the file ends before the region does), EEXIST (overlap), ENOSPC (512 regions), and those of mmap(2).
 */
export function memoryAdd(
  memory: Memory,
  fd: number,
  gpa: number,
  sizeBytes: number,
  fileOffsetBytes: number,
): number
/** Removes the region that starts at `gpa`: detaches its windows, clears its watches, unmaps it. Errors: ENOENT. */
export function memoryRemove(memory: Memory, gpa: number): number
/**
 * Returns an ArrayBuffer over guest memory, detached when its region is removed; -EFAULT if no single region holds
 * the range.
 */
export function memoryWindow(memory: Memory, gpa: number, lenBytes: number): ArrayBuffer | number
/** Detaches one window of the region that holds `gpa`. Errors: ENOENT. */
export function memoryCloseWindow(memory: Memory, gpa: number, window: ArrayBuffer): number
/** Returns true if the front-end has truncated the file of a region, and this thread has touched what is gone. */
export function memoryIsLost(memory: Memory): boolean
/**
 * Returns this thread's eventfd that counts losses: files of guest memory or of a log that are mapped on this thread, are
 * truncated, and were touched. Zeros take the place of what is gone. The addon closes it when the thread ends.
 */
export function lostMemoryFd(): number
/** Makes memorySpin watch the 16-bit word at `gpa` in slot `slot` (0-255); gpa -1 clears the slot. Errors: EFAULT. */
export function memoryWatch(memory: Memory, slot: number, gpa: number): number
/**
 * Returns 1 as soon as a watched word differs from seen[slot] or asyncReap has a result, 0 after `spinNs` nanoseconds. If
 * this thread lost its processor meanwhile, twice the microseconds of that are added.
 */
export function memorySpin(memory: Memory, seen: Uint16Array, spinNs: number): number
/** Returns this thread's processor time so far, in nanoseconds. */
export function threadCpuNs(): number
/** Returns how often this thread has waited for something, and so given its processor up. */
export function threadWaits(): number

/**
 * The next four functions work on the bytes [skipBytes, skipBytes + lenBytes) of segments [first, end) of `segments`,
 * pairs [gpa, lenBytes]. Errors: EFAULT (outside guest memory).
 */
/**
 * preadv2(2) from `fd` at `offsetBytes` straight into guest memory. Returns bytes read, fewer than asked at the end
 * of the file.
 */
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
/** Copies guest memory to `bytes` from byte `at`. Returns lenBytes; -EFAULT also if the segments are shorter. */
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
/** Copies `bytes` from byte `at` to guest memory. Returns lenBytes; -EFAULT also if the segments are shorter. */
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

// ---- dirty log ----

/** A log of written guest pages, one bit for each 4 KiB of guest-physical addresses. */
export type DirtyLogMapping = object & { readonly dirtyLog: unique symbol }
/**
 * Maps `sizeBytes` of `fd` from `offsetBytes` as a log. The caller keeps `fd`. Errors: EFBIG (the file is shorter, or no
 * regular file), EINVAL (no bytes), and those of mmap(2).
 */
export function dirtyLogOpen(fd: number, offsetBytes: number, sizeBytes: number): DirtyLogMapping | number
/** Unmaps a log. It takes no more marks. */
export function dirtyLogClose(log: DirtyLogMapping): number
/** Returns true if the front-end has truncated the log's file, and a mark has touched what is gone. */
export function dirtyLogIsLost(log: DirtyLogMapping): boolean
/**
 * Marks, atomically, each page of segments [first, end) of `segments`, pairs [gpa, lenBytes]. Errors: EFAULT (a page
 * outside the log; the segments before it are marked).
 */
export function dirtyLogMark(log: DirtyLogMapping, segments: Float64Array, first: number, end: number): number

// ---- waiting ----

/** eventfd(2) with counter 0. */
export function eventfdCreate(flags: number): number
/** Adds 1 to an eventfd. */
export function eventfdSignal(fd: number): number
/** Adds 1 to an eventfd that may be in blocking mode; -EAGAIN if the write would block. */
export function eventfdSignalPolled(fd: number): number
/** Adds 1 to an eventfd when the calling thread ends, however it does. A duplicate of the descriptor is kept until then. */
export function eventfdSignalAtEnd(fd: number): number
/** Resets a non-blocking eventfd. Returns 1 if it was signalled, otherwise 0. */
export function eventfdDrain(fd: number): number
export function epollCreate(): number
/** epollWait returns `tag` (u32) with the descriptor's events. */
export function epollAdd(epollFd: number, fd: number, events: number, tag: number): number
export function epollDelete(epollFd: number, fd: number): number
/** Blocks up to `timeoutMs` (-1: no limit). Returns the number of pairs [tag, events] in `out`. Errors: EINTR. */
export function epollWait(epollFd: number, timeoutMs: number, out: Uint32Array): number

/**
 * Calls `callback` from Node's own event loop as long as `fd` is readable, which keeps that loop alive. Returns a number
 * for `pollStop`. Errors: EMFILE (64 a thread), and those of epoll_ctl(2).
 */
export function pollStart(fd: number, callback: () => void): number
/** Stops a watcher. Call it before closing the descriptor. Errors: ENOENT. */
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
/** statx(2) of the inode behind `fd`, which may be O_PATH. */
export function fstatx(fd: number, mask: number, out: Uint8Array | Int32Array): number
export function mkdirat(dirFd: number, name: Uint8Array, at: number, mode: number): number
/** `dev` uses the kernel's own 32-bit encoding, as FUSE does. */
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
/**
 * Writes the target to `out` from `outAt`, without a NUL, and returns its length. The empty name reads the link
 * behind `dirFd`.
 */
export function readlinkat(
  dirFd: number,
  name: Uint8Array,
  at: number,
  out: Uint8Array,
  outAt: number,
): number
/**
 * Returns the length of the file handle. `out` (at least 136 bytes) receives [mount id, handle type] as 32-bit words,
 * then the handle. Errors: EOPNOTSUPP, EOVERFLOW (this file system has none).
 */
export function nameToHandleAt(
  dirFd: number,
  name: Uint8Array,
  at: number,
  flags: number,
  out: Uint8Array,
): number

// ---- the inode behind an O_PATH descriptor; procFd is a descriptor of /proc/self/fd ----

/** Errors with O_NONBLOCK: EAGAIN too (a lease must be broken first; its holder is told). */
export function inodeOpen(procFd: number, fd: number, flags: number): number
/** `handle` is [handle type (32 bits), handle], as nameToHandleAt gave it from byte 4. Needs CAP_DAC_READ_SEARCH. */
export function inodeOpenByHandle(mountFd: number, handle: Uint8Array, flags: number): number
/**
 * Writes the host's present path to `out`, without a NUL, and returns its length. A lost name ends in " (deleted)".
 */
export function inodePath(procFd: number, fd: number, out: Uint8Array): number
export function inodeChmod(procFd: number, fd: number, mode: number): number
/** An id of -1 stays unchanged. */
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

/** Reads struct linux_dirent64 records into `out`. Returns their bytes, 0 at the end. */
export function getdents64(fd: number, out: Uint8Array): number
/** Moves to a position from getdents64, given in 32-bit halves. */
export function seekDirectory(fd: number, low: number, high: number): number

// ---- open files ----

export function close(fd: number): number
/** Closes every descriptor in `fds`. Of many, a thread of their own goes on with that. Returns 0. */
export function closeAll(fds: Int32Array): number
export function dup(fd: number): number
/** Makes `target`, an open descriptor, a copy of `fd`. */
export function dupTo(fd: number, target: number): number
export function statusFlags(fd: number): number
export function setStatusFlags(fd: number, flags: number): number
/** Sets the limit of open files as far as this process may; 0 leaves it. Returns the limit now in force. */
export function setFileLimit(limit: number): number
/** Raises the limit of locked memory (RLIMIT_MEMLOCK) as far as privileges allow, if it is lower. */
export function raiseLockedLimit(limitBytes: number): number
/** Makes shared memory that can be passed to another process and cannot shrink. */
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
 * ioctl(2) with a request whose number includes the argument's size. Returns the call's result, mostly 0. Errors:
 * EINVAL (the argument is shorter than the request says).
 */
export function ioctl(fd: number, request: number, argument: Uint8Array): number
/** flock(2) with LOCK_SH, LOCK_EX or LOCK_UN. Errors: EAGAIN (another open file holds a conflicting lock). */
export function flock(fd: number, operation: number): number
/** F_OFD_SETLK: sets a lock that belongs to the open file; `lenBytes` 0 reaches to the end. Errors: EAGAIN. */
export function setRangeLock(fd: number, type: number, startBytes: number, lenBytes: number): number
/**
 * F_OFD_GETLK: returns 0, or 1 and [type, startBytes, lenBytes, pid] of a conflicting lock; pid is -1 for a lock that
 * belongs to an open file.
 */
export function getRangeLock(
  fd: number,
  type: number,
  startBytes: number,
  lenBytes: number,
  out: Float64Array,
): number

// ---- extended attributes of the inode behind a descriptor; the working directory must be /proc/self/fd ----

/** fchdir(2), for a thread that has called detachFs. */
export function enterDirectory(fd: number): number
/**
 * Writes the value to `out` from `outAt` and returns its length; with `lenBytes` 0 returns only the length. Errors:
 * ENODATA, ERANGE, EOPNOTSUPP.
 */
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
/**
 * Writes the names, each with its NUL, to `out` from `outAt` and returns their bytes; with `lenBytes` 0 returns only
 * that number. Errors: ERANGE.
 */
export function inodeListxattr(fd: number, out: Uint8Array, outAt: number, lenBytes: number): number
export function inodeRemovexattr(fd: number, name: Uint8Array, nameAt: number): number

// ---- asynchronous system calls; an engine belongs to the thread that made it ----

/**
 * Makes up to `count` io_urings for the engines of threads to come. From then on no others are made, so a thread of a
 * process that may not make them can still have one. Returns how many were made.
 */
export function asyncReserve(count: number): number
/**
 * Makes an engine: io_uring if the kernel has and allows it, and up to `maxThreads` helper threads, started on demand, for
 * the rest. Up to `maxCopiers` others share reads of cached data with this thread. Returns its number, which the other
 * functions take, and which is in the upper 12 bits of the tokens of its calls. Errors: EMFILE (the thread has 4096 engines).
 */
export function asyncCreate(useUring: 0 | 1, maxThreads: number, maxCopiers: number): number
/** Ends an engine: waits for its calls that have begun, and drops the others. Returns 0. */
export function asyncDestroy(engine: number): number
/** Returns a descriptor that is readable while io_uring results wait. Errors: ENOENT (no io_uring). */
export function asyncUringFd(engine: number): number
/** Returns a descriptor that is readable while results of helper threads wait. */
export function asyncPoolFd(engine: number): number
/** The same for the threads that copy. Errors: ENOENT (none may). */
export function asyncCopierFd(engine: number): number
/**
 * Starts a preadv2 (kind ASYNC_READ, or ASYNC_CACHED_READ for data that is in memory) or pwritev2 (ASYNC_WRITE) on
 * guest memory. The result, which may be short, carries `token` (u32). Until then the memory must stay mapped and `fd`
 * open. An ASYNC_CACHED_READ begins at once.
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
 * Submits all operations started so far; none begins earlier. Returns how many the kernel did not take, because it
 * lacks memory or results must be reaped first: call again.
 */
export function asyncSubmit(engine: number): number
/**
 * Cancels operations of one kind, or all with 255. Those that have not begun end with ECANCELED. An operation that
 * io_uring has begun and can interrupt ends with EINTR. Returns 0.
 */
export function asyncCancel(engine: number, kind: number): number
/**
 * Carries out an ASYNC_CACHED_READ that no thread has begun, on this thread. Returns 1, or 0 if there is none. Its result
 * comes by asyncReap.
 */
export function asyncHelp(engine: number): number
/** Returns the number of pairs [token, result] in `out`; a result is >= 0 or a negative errno. */
export function asyncReap(engine: number, out: Int32Array): number

// ---- this thread ----

/**
 * Makes this thread another user for the following system calls: supplementary groups [group] (-1: leave them), then
 * gid, then uid. CAP_DAC_OVERRIDE stays effective if it was. On an error nothing is changed. Errors: EPERM (no
 * CAP_SETUID or CAP_SETGID), EINVAL (an id of -1).
 */
export function credentialsEnter(uid: number, gid: number, group: number): number
/** Undoes credentialsEnter; ends the process if that fails. */
export function credentialsLeave(): number
/** Drops every supplementary group of this thread. Errors: EPERM. */
export function dropGroups(): number
/** Returns the effective capabilities 0 to 31 as a bit mask. */
export function capabilities(): number
/** Gives this thread its own umask and working directory from now on. */
export function detachFs(): number
/** Sets the umask; returns the previous one. */
export function umask(mode: number): number
/** Ends the process at once, without waiting for other threads. */
export function exitNow(status: number): never

/** Numbers from the system's headers for this machine's architecture. */
export const constants: Readonly<{
  ASYNC_READ: number
  ASYNC_WRITE: number
  ASYNC_FSYNC: number
  ASYNC_FDATASYNC: number
  ASYNC_FALLOCATE: number
  ASYNC_SYNCFS: number
  ASYNC_COPY_RANGE: number
  ASYNC_CACHED_READ: number
  AUDIT_ARCH: number
  AT_EMPTY_PATH: number
  AT_FDCWD: number
  AT_NO_AUTOMOUNT: number
  AT_REMOVEDIR: number
  AT_SYMLINK_NOFOLLOW: number
  EFD_NONBLOCK: number
  EPOLLERR: number
  EPOLLET: number
  EPOLLHUP: number
  EPOLLIN: number
  EPOLLOUT: number
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

/** The path of the launcher, which makes namespaces, mounts and privileges for another program and supervises it. */
export const launcherPath: string
/** The file of the addon, as dlopen(3) knows it. */
export const addonPath: string
/**
 * Writes as many of `bytes` from `at` on as fit now, at most 4096; never blocks. Returns the number of bytes. Errors:
 * EAGAIN, EPIPE and those of write(2).
 */
export function writeNow(fd: number, bytes: Uint8Array, at: number): number
/**
 * Reads into `bytes` what a pipe or socket holds now; never blocks. Returns the number of bytes, 0 at its end. Errors:
 * EAGAIN and those of read(2).
 */
export function readNow(fd: number, bytes: Uint8Array): number
/**
 * Blocks SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 on all threads from now on, so they stay pending for the
 * program that this process becomes. Returns 0.
 */
export function putOffSignals(): number
/**
 * Executes the program at the path words[0] with the arguments `words` and the inherited descriptors `fds`. Returns a
 * negative errno, or does not return.
 */
export function becomeProgram(words: readonly string[], fds: Int32Array): number
/**
 * Asks the launcher at the other end of `fd` to take the old root away from this process. Returns 0 when it is gone.
 * Errors: EPIPE (the launcher has ended), and those of pivot_root(2) and chroot(2).
 */
export function sealRequest(fd: number): number
/** Returns the number of a system call, given its name without SYS_. Errors: ENOSYS (this architecture lacks it). */
export function systemCallNumber(name: string): number
/** Installs a seccomp filter, an array of struct sock_filter, on every thread. Errors: EINVAL, ESRCH (see seccomp(2)). */
export function seccompInstall(program: Uint8Array): number
