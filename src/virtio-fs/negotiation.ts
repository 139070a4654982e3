import { FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_OLDEST_MINOR_VERSION, InitFlag } from './abi.js'
import { EPROTO } from './errno.js'
import type { InitReply } from './wire/init.js'

const bit = (flag: number) => 1n << BigInt(flag)
const bits = (...flags: number[]) => flags.reduce((word, flag) => word | bit(flag), 0n)

/** What every session takes when the guest offers it. */
const ALWAYS = bits(
  InitFlag.ASYNC_READ,
  InitFlag.BIG_WRITES,
  InitFlag.HAS_IOCTL_DIR,
  InitFlag.AUTO_INVAL_DATA,
  InitFlag.ASYNC_DIO,
  InitFlag.PARALLEL_DIROPS,
  InitFlag.MAX_PAGES,
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
  /** POSIX ACLs are checked in the guest; its umask travels with what it creates. */
  readonly posixAcl: boolean
  /** What the guest creates comes with its security context. */
  readonly securityLabel: boolean
  /** Set-user-id and set-group-id bits are taken away here when a request says so. */
  readonly killprivV2: boolean
  /** Record locks and flock locks are kept here, not in the guest. */
  readonly posixLocks: boolean
  readonly flock: boolean
  /** LOOKUP of "." and "..", for guests that export the share themselves. */
  readonly exportSupport: boolean
  /** Directories on which the host has mounted something are marked. */
  readonly submounts: boolean
  /** Flags that a guest must have: without them there is no session. */
  readonly requiredFlags: bigint
}

/** Wishes that a flag of INIT answers. */
type Wish = Exclude<keyof InitWishes, 'requiredFlags'>

/** What each wish asks for. */
export const wishFlags: Readonly<Record<Wish, bigint>> = {
  readdirplus: bits(InitFlag.DO_READDIRPLUS, InitFlag.READDIRPLUS_AUTO),
  allowMmap: bit(InitFlag.DIRECT_IO_ALLOW_MMAP),
  writeback: bit(InitFlag.WRITEBACK_CACHE),
  cacheSymlinks: bit(InitFlag.CACHE_SYMLINKS),
  posixAcl: bits(InitFlag.POSIX_ACL, InitFlag.DONT_MASK, InitFlag.SETXATTR_EXT),
  securityLabel: bit(InitFlag.SECURITY_CTX),
  // Of an open that truncates, a guest that takes the bits itself takes none: without it Linux truncates by a SETATTR.
  killprivV2: bits(InitFlag.HANDLE_KILLPRIV_V2, InitFlag.ATOMIC_O_TRUNC),
  posixLocks: bit(InitFlag.POSIX_LOCKS),
  flock: bit(InitFlag.FLOCK_LOCKS),
  exportSupport: bit(InitFlag.EXPORT_SUPPORT),
  submounts: bit(InitFlag.SUBMOUNTS),
}

/** The flags of those wishes that the guest can fulfil: some of a wish's flags are of no use without the others. */
function granted(wishes: InitWishes, offered: bigint): bigint {
  // The keys of wishFlags are the wishes.
  return Object.entries(wishFlags)
    .filter(([wish, flags]) => wishes[wish as Wish] && (offered & flags) === flags)
    .reduce((all, [, flags]) => all | flags, 0n)
}

/** What replaces the outcome of INIT, to see what a guest does with it. */
export interface InitOverride {
  /** Flags that are set in the reply whether the guest offered them or not. */
  readonly on: bigint
  /** Flags that are not set whatever was agreed on. */
  readonly off: bigint
  /** A minor version below ours. */
  readonly minor: number | undefined
}

export const noOverride: InitOverride = Object.freeze({ on: 0n, off: 0n, minor: undefined })

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
 * virtio-fs, or lacks what is required, gets -EPROTO.
 */
export function negotiate(
  init: InitRequest,
  wishes: InitWishes,
  override: InitOverride = noOverride,
): InitAgreement | number {
  if (init.major < FUSE_KERNEL_VERSION) return -EPROTO
  if (init.major === FUSE_KERNEL_VERSION && init.minor < FUSE_OLDEST_MINOR_VERSION) return -EPROTO
  if (init.major === FUSE_KERNEL_VERSION && (init.flags & wishes.requiredFlags) !== wishes.requiredFlags)
    return -EPROTO
  const agreed = (init.flags & ALWAYS) | granted(wishes, init.flags)
  const flags = (agreed | override.on) & ~override.off
  const ourMinor =
    init.major > FUSE_KERNEL_VERSION
      ? FUSE_KERNEL_MINOR_VERSION
      : Math.min(init.minor, FUSE_KERNEL_MINOR_VERSION)
  return {
    guestMinor: init.minor,
    guestFlags: init.flags,
    flags,
    reply: {
      major: FUSE_KERNEL_VERSION,
      minor: Math.min(ourMinor, override.minor ?? ourMinor),
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
