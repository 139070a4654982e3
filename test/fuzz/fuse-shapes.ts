/** The meaning of an argument of a FUSE request, which decides the values to try. */
export type Field =
  | 'u32'
  | 'u64'
  | 'nodeid'
  | 'handle'
  | 'size'
  | 'offset'
  | 'open flags'
  | 'mode'
  | 'nsec'
  | 'ioctl'
  | 'name'
  | 'text'
  | 'data'

/** Opcodes and their arguments, from uapi fuse.h 7.46, including opcodes that a device may not know. */
export const fuseShapes: readonly (readonly [opcode: number, ...fields: Field[]])[] = [
  [1, 'name'], // LOOKUP
  [2, 'u64'], // FORGET
  [3, 'u32', 'u32', 'handle'], // GETATTR
  [
    ...([
      4,
      'u32',
      'u32',
      'handle',
      'offset',
      'u64',
      'u64',
      'u64',
      'u64',
      'nsec',
      'nsec',
      'nsec',
      'mode',
    ] as const),
    ...(['u32', 'u32', 'u32', 'u32'] as const),
  ], // SETATTR
  [5], // READLINK
  [6, 'name', 'text'], // SYMLINK
  [8, 'mode', 'u32', 'u32', 'u32', 'name'], // MKNOD
  [9, 'mode', 'u32', 'name'], // MKDIR
  [10, 'name'], // UNLINK
  [11, 'name'], // RMDIR
  [12, 'nodeid', 'name', 'name'], // RENAME
  [13, 'nodeid', 'name'], // LINK
  [14, 'open flags', 'u32'], // OPEN
  [15, 'handle', 'offset', 'size', 'u32', 'u64', 'u32', 'u32'], // READ
  [16, 'handle', 'offset', 'size', 'u32', 'u64', 'open flags', 'u32', 'data'], // WRITE
  [17], // STATFS
  [18, 'handle', 'u32', 'u32', 'u64'], // RELEASE
  [20, 'handle', 'u32', 'u32'], // FSYNC
  [21, 'size', 'u32', 'u32', 'u32', 'name', 'data'], // SETXATTR
  [22, 'size', 'u32', 'name'], // GETXATTR
  [23, 'size', 'u32'], // LISTXATTR
  [24, 'name'], // REMOVEXATTR
  [25, 'handle', 'u32', 'u32', 'u64'], // FLUSH
  [26, 'u32', 'u32', 'u32', 'u32', 'u32'], // INIT
  [27, 'open flags', 'u32'], // OPENDIR
  [28, 'handle', 'offset', 'size', 'u32', 'u64', 'u32', 'u32'], // READDIR
  [29, 'handle', 'u32', 'u32', 'u64'], // RELEASEDIR
  [30, 'handle', 'u32', 'u32'], // FSYNCDIR
  [31, 'handle', 'u64', 'offset', 'offset', 'u32', 'u32', 'u32', 'u32'], // GETLK
  [32, 'handle', 'u64', 'offset', 'offset', 'u32', 'u32', 'u32', 'u32'], // SETLK
  [33, 'handle', 'u64', 'offset', 'offset', 'u32', 'u32', 'u32', 'u32'], // SETLKW
  [34, 'u32', 'u32'], // ACCESS
  [35, 'open flags', 'mode', 'u32', 'u32', 'name'], // CREATE
  [36, 'u64'], // INTERRUPT
  [37, 'u64', 'u32', 'u32'], // BMAP
  [38], // DESTROY
  [39, 'handle', 'u32', 'ioctl', 'u64', 'size', 'size', 'data'], // IOCTL
  [40, 'handle', 'u64', 'u32', 'u32'], // POLL
  [41, 'u64', 'offset', 'size', 'u32', 'data'], // NOTIFY_REPLY
  [42, 'u32', 'u32', 'nodeid', 'u64', 'nodeid', 'u64'], // BATCH_FORGET
  [43, 'handle', 'offset', 'offset', 'u32', 'u32'], // FALLOCATE
  [44, 'handle', 'offset', 'size', 'u32', 'u64', 'u32', 'u32'], // READDIRPLUS
  [45, 'nodeid', 'u32', 'u32', 'name', 'name'], // RENAME2
  [46, 'handle', 'offset', 'u32', 'u32'], // LSEEK
  [47, 'handle', 'offset', 'nodeid', 'handle', 'offset', 'offset', 'u64'], // COPY_FILE_RANGE
  [48, 'handle', 'offset', 'offset', 'u64', 'u64'], // SETUPMAPPING
  [49, 'u32', 'u64', 'u64'], // REMOVEMAPPING
  [50, 'u64'], // SYNCFS
  [51, 'open flags', 'mode', 'u32', 'u32', 'name'], // TMPFILE
  [52, 'u32', 'u32', 'handle', 'u32', 'u32'], // STATX
  [53, 'handle', 'offset', 'nodeid', 'handle', 'offset', 'offset', 'u64'], // COPY_FILE_RANGE_64
  [54], // unknown
]

const WIDE: readonly Field[] = ['u64', 'nodeid', 'handle', 'offset']
const OPEN_ENDED: readonly Field[] = ['name', 'text', 'data']

/** The size of a field in bytes; 0 for fields of any length. */
export function fieldBytes(field: Field): number {
  return OPEN_ENDED.includes(field) ? 0 : WIDE.includes(field) ? 8 : 4
}
