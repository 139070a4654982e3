import { FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_OLDEST_MINOR_VERSION, InitFlag } from './abi.js'
import { EPROTO } from './errno.js'
import type { InitReply } from './wire/init.js'

const bit = (flag: number) => 1n << BigInt(flag)
const bits = (...flags: number[]) => flags.reduce((word, flag) => word | bit(flag), 0n)

/** Flags that every session takes if the guest offers them. */
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

/** Features that a file system requests at INIT. Each is granted if the guest offers it. */
export interface InitWishes {
  /** READDIRPLUS, and the kernel's choice between it and READDIR. */
  readonly readdirplus: boolean
  /** FUSE_DIRECT_IO_ALLOW_MMAP: MAP_SHARED mappings of files opened with FOPEN_DIRECT_IO. */
  readonly allowMmap: boolean
  /** The guest keeps written data and times in its page cache. */
  readonly writeback: boolean
  /** The guest may cache the targets of symbolic links. */
  readonly cacheSymlinks: boolean
  /** The guest checks POSIX ACLs. It sends its umask with requests that create files. */
  readonly posixAcl: boolean
  /** The guest sends a security context with requests that create files. */
  readonly securityLabel: boolean
  /** The device clears set-user-id and set-group-id bits when a request says so. */
  readonly killprivV2: boolean
  /** The device keeps record locks and flock locks, not the guest. */
  readonly posixLocks: boolean
  readonly flock: boolean
  /** LOOKUP of "." and "..", for guests that export the share themselves. */
  readonly exportSupport: boolean
  /** Directories with a mount of the host on them are marked. */
  readonly submounts: boolean
  /** Flags that a guest must offer. There is no session without them. */
  readonly requiredFlags: bigint
}

/** Wishes with INIT flags. */
type Wish = Exclude<keyof InitWishes, 'requiredFlags'>

/** The flags that each wish requests. */
export const wishFlags: Readonly<Record<Wish, bigint>> = {
  readdirplus: bits(InitFlag.DO_READDIRPLUS, InitFlag.READDIRPLUS_AUTO),
  allowMmap: bit(InitFlag.DIRECT_IO_ALLOW_MMAP),
  writeback: bit(InitFlag.WRITEBACK_CACHE),
  cacheSymlinks: bit(InitFlag.CACHE_SYMLINKS),
  posixAcl: bits(InitFlag.POSIX_ACL, InitFlag.DONT_MASK, InitFlag.SETXATTR_EXT),
  securityLabel: bit(InitFlag.SECURITY_CTX),
  // ATOMIC_O_TRUNC comes only with KILLPRIV_V2: a guest that clears the bits itself leaves them at a truncating open.
  // Without ATOMIC_O_TRUNC, Linux truncates by SETATTR.
  killprivV2: bits(InitFlag.HANDLE_KILLPRIV_V2, InitFlag.ATOMIC_O_TRUNC),
  posixLocks: bit(InitFlag.POSIX_LOCKS),
  flock: bit(InitFlag.FLOCK_LOCKS),
  exportSupport: bit(InitFlag.EXPORT_SUPPORT),
  submounts: bit(InitFlag.SUBMOUNTS),
}

/** The flags of the wishes that the guest can fulfil. A wish is granted only with all of its flags. */
function granted(wishes: InitWishes, offered: bigint): bigint {
  // Object.entries types keys as strings. The keys of wishFlags are wishes.
  return Object.entries(wishFlags)
    .filter(([wish, flags]) => wishes[wish as Wish] && (offered & flags) === flags)
    .reduce((all, [, flags]) => all | flags, 0n)
}

/**
 * The flags without which a guest has no session. The drivers of OVMF and of Windows know no listing but READDIRPLUS. Linux
 * chooses, and says so.
 */
function demanded(offered: bigint): bigint {
  const readdirplus = bit(InitFlag.DO_READDIRPLUS)
  return has(offered, InitFlag.READDIRPLUS_AUTO) ? 0n : offered & readdirplus
}

/** Returns true if the guest keeps names, and also that there are none. Simple drivers take node id 0 for a file's. */
export function keepsNames({ flags }: InitAgreement): boolean {
  // Every Linux with virtio-fs has it.
  return has(flags, InitFlag.PARALLEL_DIROPS)
}

/** Changes to the result of INIT, to test how a guest reacts. */
export interface InitOverride {
  /** Flags to set in the reply, even if the guest has not offered them. */
  readonly on: bigint
  /** Flags to clear in the reply, even if both sides agreed on them. */
  readonly off: bigint
  /** A minor version below ours. */
  readonly minor: number | undefined
}

export const noOverride: InitOverride = Object.freeze({ on: 0n, off: 0n, minor: undefined })

/** The result of INIT. */
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
  /** Both words. The upper one is 0 without INIT_EXT. */
  readonly flags: bigint
}

/**
 * Agrees on a session. A guest of a later major version gets ours in the reply, and asks again. A guest that is too old for
 * virtio-fs, or lacks a required flag, gets -EPROTO.
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
  const agreed = (init.flags & ALWAYS) | granted(wishes, init.flags) | demanded(init.flags)
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
