/** Numbers of the FUSE protocol, spelled as in the kernel's include/uapi/linux/fuse.h (7.45). */

export const FUSE_KERNEL_VERSION = 7
/** The minor version that this implementation follows. */
export const FUSE_KERNEL_MINOR_VERSION = 45
/** Linux 5.4, the first with virtio-fs, has 7.31. Other drivers are of earlier versions, with the same structures. */
export const FUSE_OLDEST_MINOR_VERSION = 27

export const FUSE_ROOT_ID = 1

export const Opcode = Object.freeze({
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
})

const opcodeNames = new Map<number, string>(Object.entries(Opcode).map(([name, opcode]) => [opcode, name]))

/** The opcode's name, or its number if it is unknown. */
export function opcodeName(opcode: number): string {
  return opcodeNames.get(opcode) ?? `opcode ${opcode}`
}

/** INIT flags as bit numbers. Those from 32 on count only if INIT_EXT is also set. */
export const InitFlag = Object.freeze({
  ASYNC_READ: 0,
  POSIX_LOCKS: 1,
  ATOMIC_O_TRUNC: 3,
  EXPORT_SUPPORT: 4,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  FLOCK_LOCKS: 10,
  HAS_IOCTL_DIR: 11,
  AUTO_INVAL_DATA: 12,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  NO_OPEN_SUPPORT: 17,
  PARALLEL_DIROPS: 18,
  HANDLE_KILLPRIV: 19,
  POSIX_ACL: 20,
  ABORT_ERROR: 21,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  NO_OPENDIR_SUPPORT: 24,
  EXPLICIT_INVAL_DATA: 25,
  MAP_ALIGNMENT: 26,
  SUBMOUNTS: 27,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  SECURITY_CTX: 32,
  HAS_INODE_DAX: 33,
  CREATE_SUPP_GROUP: 34,
  HAS_EXPIRE_ONLY: 35,
  DIRECT_IO_ALLOW_MMAP: 36,
  PASSTHROUGH: 37,
  NO_EXPORT_SUPPORT: 38,
  HAS_RESEND: 39,
  ALLOW_IDMAP: 40,
  OVER_IO_URING: 41,
  REQUEST_TIMEOUT: 42,
})

/** OPEN and OPENDIR reply flags. */
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_NONSEEKABLE = 1 << 2
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_STREAM = 1 << 4
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6

/** The uid and gid in requests of an ALLOW_IDMAP guest that make no inode: the caller is not named. */
export const FUSE_INVALID_UIDGID = 0xffff_ffff

/** OPEN request flags (open_flags). */
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0

/** GETATTR request flags. */
export const FUSE_GETATTR_FH = 1 << 0

/** SETATTR valid bits. */
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_LOCKOWNER = 1 << 9
export const FATTR_CTIME = 1 << 10
export const FATTR_KILL_SUIDGID = 1 << 11

/** READ request flags. Set if a program reads, and not set if the guest fills its page cache. */
export const FUSE_READ_LOCKOWNER = 1 << 1

/** WRITE request flags. */
export const FUSE_WRITE_CACHE = 1 << 0
export const FUSE_WRITE_LOCKOWNER = 1 << 1
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2

/** RELEASE request flags. */
export const FUSE_RELEASE_FLUSH = 1 << 0
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1

/** SETXATTR request flags (SETXATTR_EXT): a new access ACL clears the set-group-id bit. */
export const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0

/** GETLK, SETLK and SETLKW request flags: a lock of flock(2), not a POSIX record lock. */
export const FUSE_LK_FLOCK = 1 << 0

/** IOCTL request flags. */
export const FUSE_IOCTL_DIR = 1 << 4

/** FSYNC request flags. */
export const FUSE_FSYNC_FDATASYNC = 1 << 0

/** Attribute flags. */
export const FUSE_ATTR_SUBMOUNT = 1 << 0

/** Extension of requests that create a file: supplementary groups of the caller. */
export const FUSE_EXT_GROUPS = 32
/** An extension type up to this one is the number of security contexts in it. */
export const FUSE_MAX_NR_SECCTX = 31
