import { FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_OLDEST_MINOR_VERSION, InitFlag } from './abi.js'
import { EPROTO } from './errno.js'
import type { InitReply } from './wire.js'

const bit = (flag: number) => 1n << BigInt(flag)
const bits = (...flags: number[]) => flags.reduce((word, flag) => word | bit(flag), 0n)

/** What every session takes when the guest offers it. */
const ALWAYS = bits(
  InitFlag.ASYNC_READ,
  InitFlag.ATOMIC_O_TRUNC,
  InitFlag.BIG_WRITES,
  InitFlag.AUTO_INVAL_DATA,
  InitFlag.ASYNC_DIO,
  InitFlag.PARALLEL_DIROPS,
  InitFlag.MAX_PAGES,
  InitFlag.SUBMOUNTS,
  InitFlag.INIT_EXT,
  InitFlag.CREATE_SUPP_GROUP,
  InitFlag.ALLOW_IDMAP,
)

const PAGE_BYTES = 4096
/** 1 MiB: 256 pages, the most that Linux allowed before 6.13 and the default since. */
export const MAX_WRITE_BYTES = 1024 * 1024
const MAX_BACKGROUND = 65535

/** What a file system wants to be agreed on at INIT, if the guest offers it. */
export interface InitWishes {
  /** READDIRPLUS, and the kernel's choice between it and READDIR. */
  readonly readdirplus: boolean
  /** FUSE_DIRECT_IO_ALLOW_MMAP: MAP_SHARED mappings of files opened with FOPEN_DIRECT_IO. */
  readonly allowMmap: boolean
  /** The guest keeps written data and times in its page cache. */
  readonly writeback: boolean
  /** The guest may cache the targets of symbolic links. */
  readonly cacheSymlinks: boolean
}

/** What came out of INIT. */
export interface InitAgreement {
  /** The guest's minor version: 7.minor. */
  readonly guestMinor: number
  readonly guestFlags: bigint
  /** The flags agreed on. */
  readonly flags: bigint
  readonly reply: InitReply
}

export function has(flags: bigint, flag: number): boolean {
  return (flags & bit(flag)) !== 0n
}

/** The arguments of an INIT request. */
export interface InitRequest {
  readonly major: number
  readonly minor: number
  readonly maxReadaheadBytes: number
  /** Both words; the upper one 0 without INIT_EXT. */
  readonly flags: bigint
}

/**
 * Agrees on a session. A guest of a later major version is answered with ours, and asks again; one that is too old for
 * virtio-fs gets -EPROTO.
 */
export function negotiate(init: InitRequest, wishes: InitWishes): InitAgreement | number {
  if (init.major < FUSE_KERNEL_VERSION) return -EPROTO
  if (init.major === FUSE_KERNEL_VERSION && init.minor < FUSE_OLDEST_MINOR_VERSION) return -EPROTO
  const wanted =
    ALWAYS |
    (wishes.readdirplus ? bits(InitFlag.DO_READDIRPLUS, InitFlag.READDIRPLUS_AUTO) : 0n) |
    (wishes.allowMmap ? bit(InitFlag.DIRECT_IO_ALLOW_MMAP) : 0n) |
    (wishes.writeback ? bit(InitFlag.WRITEBACK_CACHE) : 0n) |
    (wishes.cacheSymlinks ? bit(InitFlag.CACHE_SYMLINKS) : 0n)
  const flags = init.flags & wanted
  return {
    guestMinor: init.minor,
    guestFlags: init.flags,
    flags,
    reply: {
      major: FUSE_KERNEL_VERSION,
      minor:
        init.major > FUSE_KERNEL_VERSION
          ? FUSE_KERNEL_MINOR_VERSION
          : Math.min(init.minor, FUSE_KERNEL_MINOR_VERSION),
      maxReadaheadBytes: init.maxReadaheadBytes,
      flags,
      maxBackground: MAX_BACKGROUND,
      congestionThreshold: Math.floor((MAX_BACKGROUND * 3) / 4),
      maxWriteBytes: MAX_WRITE_BYTES,
      timeGranNs: 1,
      maxPages: has(flags, InitFlag.MAX_PAGES) ? MAX_WRITE_BYTES / PAGE_BYTES : 0,
    },
  }
}
