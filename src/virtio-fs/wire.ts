/**
 * Layouts of FUSE structs. Little endian, as virtio 1 has it for every guest. Readers take a DataView and the byte at
 * which the struct begins; writers take the reply's words, whose word 0 is where the struct begins.
 */

import { readSafeI64, readSafeU64, writeU64 } from './wire-numbers.js'

/** fuse_in_header: 40 bytes, at byte 0 of a request. */
export const InHeader = Object.freeze({
  BYTES: 40,
  lenBytes: (v: DataView) => v.getUint32(0, true),
  opcode: (v: DataView) => v.getUint32(4, true),
  uniqueLow: (v: DataView) => v.getInt32(8, true),
  uniqueHigh: (v: DataView) => v.getInt32(12, true),
  nodeid: (v: DataView) => readSafeU64(v, 16),
  uid: (v: DataView) => v.getUint32(24, true),
  gid: (v: DataView) => v.getUint32(28, true),
  pid: (v: DataView) => v.getUint32(32, true),
  /** Extensions after the arguments, in units of 8 bytes (7.38). */
  totalExtlen: (v: DataView) => v.getUint16(36, true),
})

/** fuse_out_header: 16 bytes. */
export const OutHeader = Object.freeze({ BYTES: 16 })

/** fuse_init_in: 16 bytes, 64 with INIT_EXT. */
export const InitIn = Object.freeze({
  BYTES: 16,
  EXT_BYTES: 20,
  major: (v: DataView, at: number) => v.getUint32(at, true),
  minor: (v: DataView, at: number) => v.getUint32(at + 4, true),
  maxReadaheadBytes: (v: DataView, at: number) => v.getUint32(at + 8, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 12, true),
  flags2: (v: DataView, at: number) => v.getUint32(at + 16, true),
})

/** fuse_init_out: 64 bytes. */
export const InitOut = Object.freeze({
  BYTES: 64,
  write(v: DataView, at: number, init: InitReply) {
    v.setUint32(at, init.major, true)
    v.setUint32(at + 4, init.minor, true)
    v.setUint32(at + 8, init.maxReadaheadBytes, true)
    v.setUint32(at + 12, Number(init.flags & 0xffffffffn), true)
    v.setUint16(at + 16, init.maxBackground, true)
    v.setUint16(at + 18, init.congestionThreshold, true)
    v.setUint32(at + 20, init.maxWriteBytes, true)
    v.setUint32(at + 24, init.timeGranNs, true)
    v.setUint16(at + 28, init.maxPages, true)
    v.setUint16(at + 30, 0, true)
    v.setUint32(at + 32, Number(init.flags >> 32n), true)
    for (let rest = at + 36; rest < at + 64; rest += 4) v.setUint32(rest, 0, true)
  },
})

/** What INIT answers. */
export interface InitReply {
  readonly major: number
  readonly minor: number
  readonly maxReadaheadBytes: number
  readonly flags: bigint
  readonly maxBackground: number
  readonly congestionThreshold: number
  readonly maxWriteBytes: number
  readonly timeGranNs: number
  readonly maxPages: number
}

/** fuse_forget_in: 8 bytes. */
export const ForgetIn = Object.freeze({
  BYTES: 8,
  nlookup: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_batch_forget_in: 8 bytes, then `count` of fuse_forget_one, 16 bytes each. */
export const BatchForgetIn = Object.freeze({
  BYTES: 8,
  ONE_BYTES: 16,
  count: (v: DataView, at: number) => v.getUint32(at, true),
  nodeid: (v: DataView, at: number, n: number) => readSafeU64(v, at + 8 + 16 * n),
  nlookup: (v: DataView, at: number, n: number) => readSafeU64(v, at + 16 + 16 * n),
})

/** fuse_getattr_in: 16 bytes. */
export const GetattrIn = Object.freeze({
  BYTES: 16,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  handle: (v: DataView, at: number) => readSafeU64(v, at + 8),
})

/** fuse_setattr_in: 88 bytes. */
export const SetattrIn = Object.freeze({
  BYTES: 88,
  valid: (v: DataView, at: number) => v.getUint32(at, true),
  handle: (v: DataView, at: number) => readSafeU64(v, at + 8),
  /** Bytes, or -1 beyond 2^53. */
  sizeBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  atimeSec: (v: DataView, at: number) => readSafeI64(v, at + 32),
  mtimeSec: (v: DataView, at: number) => readSafeI64(v, at + 40),
  atimeNsec: (v: DataView, at: number) => v.getUint32(at + 56, true),
  mtimeNsec: (v: DataView, at: number) => v.getUint32(at + 60, true),
  mode: (v: DataView, at: number) => v.getUint32(at + 68, true),
  uid: (v: DataView, at: number) => v.getUint32(at + 76, true),
  gid: (v: DataView, at: number) => v.getUint32(at + 80, true),
})

/** fuse_mknod_in: 16 bytes, then the name. */
export const MknodIn = Object.freeze({
  BYTES: 16,
  mode: (v: DataView, at: number) => v.getUint32(at, true),
  rdev: (v: DataView, at: number) => v.getUint32(at + 4, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_mkdir_in: 8 bytes, then the name. */
export const MkdirIn = Object.freeze({
  BYTES: 8,
  mode: (v: DataView, at: number) => v.getUint32(at, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 4, true),
})

/** fuse_rename_in: 8 bytes, then both names. */
export const RenameIn = Object.freeze({
  BYTES: 8,
  newDirectory: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_rename2_in: 16 bytes, then both names. */
export const Rename2In = Object.freeze({
  BYTES: 16,
  newDirectory: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_link_in: 8 bytes, then the name. */
export const LinkIn = Object.freeze({
  BYTES: 8,
  oldNodeid: (v: DataView, at: number) => readSafeU64(v, at),
})

/** fuse_open_in: 8 bytes. */
export const OpenIn = Object.freeze({
  BYTES: 8,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  openFlags: (v: DataView, at: number) => v.getUint32(at + 4, true),
})

/** fuse_create_in: 16 bytes, then the name. */
export const CreateIn = Object.freeze({
  BYTES: 16,
  flags: (v: DataView, at: number) => v.getUint32(at, true),
  mode: (v: DataView, at: number) => v.getUint32(at + 4, true),
  umask: (v: DataView, at: number) => v.getUint32(at + 8, true),
  openFlags: (v: DataView, at: number) => v.getUint32(at + 12, true),
})

/** fuse_read_in: 40 bytes; also for READDIR and READDIRPLUS, whose offset is opaque. */
export const ReadIn = Object.freeze({
  BYTES: 40,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  cookieLow: (v: DataView, at: number) => v.getUint32(at + 8, true),
  cookieHigh: (v: DataView, at: number) => v.getUint32(at + 12, true),
  sizeBytes: (v: DataView, at: number) => v.getUint32(at + 16, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 32, true),
})

/** fuse_write_in: 40 bytes, then the data. */
export const WriteIn = Object.freeze({
  BYTES: 40,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  sizeBytes: (v: DataView, at: number) => v.getUint32(at + 16, true),
  writeFlags: (v: DataView, at: number) => v.getUint32(at + 20, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 32, true),
})

/** fuse_release_in: 24 bytes. */
export const ReleaseIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
  releaseFlags: (v: DataView, at: number) => v.getUint32(at + 12, true),
})

/** fuse_flush_in: 24 bytes. */
export const FlushIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  ownerLow: (v: DataView, at: number) => v.getUint32(at + 16, true),
  ownerHigh: (v: DataView, at: number) => v.getUint32(at + 20, true),
})

/** fuse_fsync_in: 16 bytes. */
export const FsyncIn = Object.freeze({
  BYTES: 16,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  fsyncFlags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_fallocate_in: 32 bytes. */
export const FallocateIn = Object.freeze({
  BYTES: 32,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  lenBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  mode: (v: DataView, at: number) => v.getUint32(at + 24, true),
})

/** fuse_lseek_in: 24 bytes. */
export const LseekIn = Object.freeze({
  BYTES: 24,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  /** Bytes, or -1 beyond 2^53. */
  offsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  whence: (v: DataView, at: number) => v.getUint32(at + 16, true),
})

/** fuse_copy_file_range_in: 56 bytes. */
export const CopyFileRangeIn = Object.freeze({
  BYTES: 56,
  inHandle: (v: DataView, at: number) => readSafeU64(v, at),
  inOffsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  outNodeid: (v: DataView, at: number) => readSafeU64(v, at + 16),
  outHandle: (v: DataView, at: number) => readSafeU64(v, at + 24),
  outOffsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 32),
  /** Bytes, or -1 beyond 2^53. */
  lenBytes: (v: DataView, at: number) => readSafeU64(v, at + 40),
  flagsLow: (v: DataView, at: number) => v.getUint32(at + 48, true),
  flagsHigh: (v: DataView, at: number) => v.getUint32(at + 52, true),
})

/** fuse_copy_file_range_out: bytes copied. 8 bytes. */
export const CopyFileRangeOut = Object.freeze({
  BYTES: 8,
  write: (v: DataView, at: number, copiedBytes: number) => writeU64(v, at, copiedBytes),
})

/** fuse_setxattr_in: 8 bytes, 16 with SETXATTR_EXT, then the name and the value. */
export const SetxattrIn = Object.freeze({
  BYTES: 8,
  EXT_BYTES: 16,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 4, true),
  /** With SETXATTR_EXT only. */
  setxattrFlags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_getxattr_in: 8 bytes, then the name; for LISTXATTR alone. */
export const GetxattrIn = Object.freeze({
  BYTES: 8,
  /** Room for the value; 0 asks for its size. */
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})

/** fuse_getxattr_out, the reply to a size of 0. 8 bytes. */
export const GetxattrOut = Object.freeze({
  BYTES: 8,
  write(v: DataView, at: number, sizeBytes: number) {
    v.setUint32(at, sizeBytes, true)
    v.setUint32(at + 4, 0, true)
  },
})

/** fuse_lk_in: 48 bytes. A range that ends at 2^63 - 1 has no end. */
export const LkIn = Object.freeze({
  BYTES: 48,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  ownerLow: (v: DataView, at: number) => v.getUint32(at + 8, true),
  ownerHigh: (v: DataView, at: number) => v.getUint32(at + 12, true),
  /** Bytes, or -1 beyond 2^53. */
  startBytes: (v: DataView, at: number) => readSafeU64(v, at + 16),
  /** The last byte, or -1 beyond 2^53. */
  lastByte: (v: DataView, at: number) => readSafeU64(v, at + 24),
  type: (v: DataView, at: number) => v.getUint32(at + 32, true),
  pid: (v: DataView, at: number) => v.getUint32(at + 36, true),
  lkFlags: (v: DataView, at: number) => v.getUint32(at + 40, true),
})

/** fuse_lk_out: start, last byte, type, pid. 24 bytes. */
export const LkOut = Object.freeze({
  BYTES: 24,
  /** `lenBytes` 0: up to the end of the file. */
  write(v: DataView, at: number, startBytes: number, lenBytes: number, type: number, pid: number) {
    writeU64(v, at, startBytes)
    if (lenBytes > 0) {
      writeU64(v, at + 8, startBytes + lenBytes - 1)
    } else {
      v.setUint32(at + 8, 0xffff_ffff, true)
      v.setUint32(at + 12, 0x7fff_ffff, true)
    }
    v.setUint32(at + 16, type, true)
    v.setUint32(at + 20, pid, true)
  },
})

/** fuse_ioctl_in: 32 bytes, then the argument that goes in. */
export const IoctlIn = Object.freeze({
  BYTES: 32,
  handle: (v: DataView, at: number) => readSafeU64(v, at),
  flags: (v: DataView, at: number) => v.getUint32(at + 8, true),
  command: (v: DataView, at: number) => v.getUint32(at + 12, true),
  inBytes: (v: DataView, at: number) => v.getUint32(at + 24, true),
  outBytes: (v: DataView, at: number) => v.getUint32(at + 28, true),
})

/** fuse_ioctl_out: result, flags, counts of iovecs. 16 bytes, then the argument that comes out. */
export const IoctlOut = Object.freeze({
  BYTES: 16,
  write(v: DataView, at: number, result: number) {
    v.setInt32(at, result, true)
    for (let rest = at + 4; rest < at + 16; rest += 4) v.setUint32(rest, 0, true)
  },
})

/** fuse_statx_in: 24 bytes. */
export const StatxIn = Object.freeze({
  BYTES: 24,
  mask: (v: DataView, at: number) => v.getUint32(at + 20, true),
})

/** fuse_statx_out: attr_valid, its nanoseconds, flags, spare[2], fuse_statx (256 bytes, as struct statx). 288 bytes. */
export const StatxOut = Object.freeze({ BYTES: 288, STATX_AT: 32 })

/** fuse_access_in: 8 bytes. */
export const AccessIn = Object.freeze({
  BYTES: 8,
  mask: (v: DataView, at: number) => v.getUint32(at, true),
})

/** fuse_syncfs_in: 8 bytes of padding. */
export const SyncfsIn = Object.freeze({ BYTES: 8 })

/** fuse_attr: 88 bytes. Written word by word from a struct statx by `writeAttr` of the file system. */
export const Attr = Object.freeze({ BYTES: 88 })

/** fuse_attr_out: attr_valid, attr_valid_nsec, dummy, fuse_attr. 104 bytes. */
export const AttrOut = Object.freeze({ BYTES: 104, ATTR_AT: 16 })

/** fuse_entry_out: nodeid, generation, entry_valid, attr_valid, their nanoseconds, fuse_attr. 128 bytes. */
export const EntryOut = Object.freeze({ BYTES: 128, ATTR_AT: 40 })

/** fuse_open_out: handle, flags, backing id. 16 bytes. */
export const OpenOut = Object.freeze({
  BYTES: 16,
  write(v: DataView, at: number, handle: number, openFlags: number) {
    writeU64(v, at, handle)
    v.setUint32(at + 8, openFlags, true)
    v.setUint32(at + 12, 0, true)
  },
})

/** fuse_write_out: bytes written, padding. 8 bytes. */
export const WriteOut = Object.freeze({
  BYTES: 8,
  write(v: DataView, at: number, sizeBytes: number) {
    v.setUint32(at, sizeBytes, true)
    v.setUint32(at + 4, 0, true)
  },
})

/** fuse_lseek_out: 8 bytes. */
export const LseekOut = Object.freeze({
  BYTES: 8,
  write: (v: DataView, at: number, offsetBytes: number) => writeU64(v, at, offsetBytes),
})

/** fuse_statfs_out (a fuse_kstatfs): 80 bytes. */
export const StatfsOut = Object.freeze({ BYTES: 80 })

/** fuse_dirent: ino, off, namelen, type, name, padded to 8 bytes. 24 bytes and the name. */
export const Dirent = Object.freeze({
  BYTES: 24,
  paddedBytes: (nameBytes: number) => (24 + nameBytes + 7) & ~7,
})

/** Extension header: size in bytes with itself, type. For FUSE_EXT_GROUPS a count and the groups follow. */
export const ExtHeader = Object.freeze({
  BYTES: 8,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
  type: (v: DataView, at: number) => v.getUint32(at + 4, true),
  groupCount: (v: DataView, at: number) => v.getUint32(at + 8, true),
  group: (v: DataView, at: number, n: number) => v.getUint32(at + 12 + 4 * n, true),
})

/** fuse_secctx: size of the context, padding; then its attribute's name and a NUL, and the context. 8 bytes. */
export const Secctx = Object.freeze({
  BYTES: 8,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})
