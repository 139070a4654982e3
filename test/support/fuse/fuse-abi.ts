/**
 * Numbers of the FUSE protocol for a Linux 7.3 guest. Written from fuse.h independently, so that a mistake in src/
 * shows.
 */
export const Op = Object.freeze({
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
  DESTROY: 38,
  IOCTL: 39,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
})

/** Bits of the INIT flags; 32 and up travel in the second word. */
export const Init = Object.freeze({
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
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  NO_OPENDIR_SUPPORT: 24,
  MAP_ALIGNMENT: 26,
  SUBMOUNTS: 27,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  SECURITY_CTX: 32,
  HAS_INODE_DAX: 33,
  CREATE_SUPP_GROUP: 34,
  DIRECT_IO_ALLOW_MMAP: 36,
  PASSTHROUGH: 37,
  HAS_RESEND: 39,
  ALLOW_IDMAP: 40,
  OVER_IO_URING: 41,
})

export const flagBits = (...bits: number[]) => bits.reduce((word, bit) => word | (1n << BigInt(bit)), 0n)

/** The flags that Linux 7.3 offers over virtio-fs: every bit but 31 (INIT_RESERVED). */
export const EVERY_FLAG = 0xffff_ffff_7fff_ffffn

export const ROOT_ID = 1n

export const Fopen = Object.freeze({ DIRECT_IO: 1, KEEP_CACHE: 2, CACHE_DIR: 8, PARALLEL_DIRECT_WRITES: 64 })

export const Fattr = Object.freeze({
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  FH: 64,
  ATIME_NOW: 128,
  MTIME_NOW: 256,
  KILL_SUIDGID: 2048,
})

export const WRITE_CACHE = 1
/** READ flag: a read for a program of the guest, not one that fills the page cache. */
export const READ_LOCKOWNER = 2
export const WRITE_KILL_SUIDGID = 4
export const OPEN_KILL_SUIDGID = 1
export const SETXATTR_ACL_KILL_SGID = 1
export const ATTR_SUBMOUNT = 1
export const LK_FLOCK = 1
export const IOCTL_32BIT = 8
export const IOCTL_DIR = 16
export const FSYNC_FDATASYNC = 1

/** Numbers from linux/fs.h and fcntl.h that Node lacks. */
export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2
export const RENAME_WHITEOUT = 4
export const FALLOC_KEEP_SIZE = 1
export const FALLOC_PUNCH_HOLE = 2
export const SEEK_SET = 0
export const SEEK_DATA = 3
export const SEEK_HOLE = 4
