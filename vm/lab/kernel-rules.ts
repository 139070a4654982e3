/**
 * Linux's behaviour with direct I/O, shared mappings and parallel direct writes, by the features it negotiated. Source:
 * fs/fuse of the named releases. Newer kernels are expected to behave like 6.9.
 */

import type { ShareName } from './option-sets.js'

/** The features that a guest and one of its shares agreed on. */
export interface GuestFacts {
  readonly share: ShareName
  /** The output of uname -r. */
  readonly release: string
  /** FUSE 7.minor, as announced by the guest at INIT. */
  readonly minor: number
  /** The share answers direct opens with FOPEN_PARALLEL_DIRECT_WRITES. */
  readonly parallelDio: boolean
  /** The share's options request FUSE_DIRECT_IO_ALLOW_MMAP, and this guest agreed on it. */
  readonly asksMmap: boolean
  readonly allowMmap: boolean
  /** FUSE_ASYNC_DIO was agreed on. */
  readonly asyncDio: boolean
  /** FUSE_PASSTHROUGH was agreed on, which /dev/fuse alone can have. */
  readonly passthrough?: boolean
  /** Names of the INIT flags agreed on. */
  readonly flags?: readonly string[]
  /** The result of a probe: true if a reply with another request's unique becomes EIO. Undefined: not probed. */
  readonly refusesWrongUnique?: boolean
}

/** Linux 6.2, and 6.1 since its stable releases adopted the flag and the version. */
const PARALLEL_SINCE = 38
/** Linux 6.6 to 6.8. */
const MMAP_SINCE = 39
/** Linux 6.9: an inode is in caching or in uncached mode (fs/fuse/iomode.c). */
const IO_MODES_SINCE = 40
/** Linux 6.18. */
const COPY_RANGE_64_SINCE = 45

/** INIT flags that every kernel since Linux 6.1 offers, and our device takes by default. */
const FLAGS = [
  ...['ASYNC_READ', 'ATOMIC_O_TRUNC', 'BIG_WRITES', 'HAS_IOCTL_DIR', 'AUTO_INVAL_DATA', 'PARALLEL_DIROPS'],
  ...['ASYNC_DIO', 'MAX_PAGES', 'SUBMOUNTS', 'HANDLE_KILLPRIV_V2', 'INIT_EXT'],
]
/** The same by the FUSE minor that has them: Linux 6.3, and 6.12. Linux 6.1 has the minor of 6.3 without its flag. */
const LATER_FLAGS = { CREATE_SUPP_GROUP: 39, ALLOW_IDMAP: 41 } as const

/** The INIT flags that a guest of this version has to agree on with our device. Undefined for kernels before Linux 6.1. */
export function flagsOf({ minor, asksMmap }: GuestFacts): readonly string[] | undefined {
  if (minor < PARALLEL_SINCE) return undefined
  const later = Object.entries(LATER_FLAGS).flatMap(([name, since]) => (minor >= since ? [name] : []))
  const chosen = asksMmap && minor >= MMAP_SINCE ? ['DIRECT_IO_ALLOW_MMAP'] : []
  return [...FLAGS, ...later, ...chosen]
}

/** Returns true if the guest's kernel has FUSE_DIRECT_IO_ALLOW_MMAP. */
export function knowsAllowMmap({ minor }: GuestFacts): boolean {
  return minor >= MMAP_SINCE
}

/** Returns true if a cached open or shared mapping of a file makes writes through its direct opens exclusive. */
export function hasIoModes({ minor }: GuestFacts): boolean {
  return minor >= IO_MODES_SINCE
}

/** Returns true if synchronous direct writes inside an uncached file share the inode's lock. */
export function writesInParallel(facts: GuestFacts): boolean {
  if (!facts.parallelDio || facts.minor < PARALLEL_SINCE) return false
  return hasIoModes(facts) || !facts.allowMmap || isEarly66(facts)
}

/** The same while the inode has a cached open or a shared mapping. */
export function writesInParallelWhenCached(facts: GuestFacts): boolean {
  return writesInParallel(facts) && !hasIoModes(facts)
}

/** Up to 6.6.7, allow-mmap and parallel dio could be on together. Later 6.6, 6.7 and 6.8 disable parallel dio then. */
function isEarly66({ release }: GuestFacts): boolean {
  return /^6\.6\.[0-7](\D|$)/.test(release)
}

/** A release as numbers: "6.12.117+deb13-cloud-amd64" is [6, 12, 117]. Debian's "6.1.0-50" lacks the stable release. */
function releaseOf({ release }: GuestFacts): [major: number, minor: number, patch: number | undefined] {
  const [, major, minor, patch, abi] = /^(\d+)\.(\d+)(?:\.(\d+)(-\d+)?)?/.exec(release) ?? []
  const isHidden = patch === '0' && abi !== undefined
  return [Number(major), Number(minor), isHidden ? undefined : Number(patch ?? 0)]
}

function isSince(facts: GuestFacts, major: number, minor: number): boolean {
  const [itsMajor, itsMinor] = releaseOf(facts)
  return itsMajor > major || (itsMajor === major && itsMinor >= minor)
}

/**
 * Returns true if the kernel drops pages that were read during a synchronous direct write: Linux 6.19 (b359af82), and the
 * stable releases 6.12.64 and 6.18.y. Undefined for releases that may have the change.
 */
export function dropsPagesAfterWrite(facts: GuestFacts): boolean | undefined {
  const [major, minor, patch] = releaseOf(facts)
  if (isSince(facts, 6, 19)) return true
  if (major === 6 && minor === 12) return patch === undefined ? undefined : patch >= 64
  return major === 6 && minor === 18 && patch !== 0 ? undefined : false
}

/**
 * The same for asynchronous writes: Linux 7.2 (2b0408d0). Undefined for releases that had an earlier form of the change,
 * which was taken out again.
 */
export function dropsPagesAfterAsyncWrite(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 7, 2)) return true
  return isSince(facts, 6, 18) ? undefined : false
}

/**
 * The same for O_APPEND. Linux 6.19 to 7.2 drop the pages at the position before the write, which is another one. Linux 6.12
 * has the change at a place that knows the right one.
 */
export function dropsPagesAfterAppend(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 7, 3)) return true
  return isSince(facts, 6, 18) ? undefined : dropsPagesAfterWrite(facts)
}

/**
 * Returns true if the rest of the last page is zeroed when a file grows by truncate, fallocate or a written-through write:
 * Linux 7.3, and 6.12.117 at the latest. Undefined for other releases.
 */
export function zeroesTail(facts: GuestFacts): boolean | undefined {
  const [major, minor, patch = 0] = releaseOf(facts)
  return isSince(facts, 7, 3) || (major === 6 && minor === 12 && patch >= 117) ? true : undefined
}

/**
 * Returns true if the guest forgets a name when the device says, as it is removed or renamed, that there is none: Linux 6.12
 * at the latest, and not 6.1. Undefined for the releases between them.
 */
export function forgetsMissingNames(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 6, 12)) return true
  return isSince(facts, 6, 2) ? undefined : false
}

/**
 * Returns true if a cached page is read again after a written-through write of it was cut short: up to Linux 6.12, and not in
 * 7.3. Undefined for the releases between them.
 */
export function readsShortPagesAgain(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 7, 3)) return false
  return isSince(facts, 6, 13) ? undefined : true
}

/** Linux 6.11: each processor has its request queue. Older kernels use one queue alone. */
export function mapsQueuesToProcessors(facts: GuestFacts): boolean {
  return isSince(facts, 6, 11)
}

/**
 * Returns true if a listing asks the device for as much as its reader has room for, and false if it asks page by page, as up
 * to Linux 6.12. Linux 7.3 does the former. Undefined for the releases between them.
 */
export function listsByRoom(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 7, 3)) return true
  return isSince(facts, 6, 13) ? undefined : false
}

/**
 * Returns true if RELEASE tells only of an flock that was granted: Linux 6.12 at the latest. Linux 6.1 tells of a refused one
 * too. Undefined for other releases.
 */
export function tellsOnlyGrantedLocks(facts: GuestFacts): boolean | undefined {
  return isSince(facts, 6, 12) ? true : undefined
}

/**
 * Returns true if the guest does not keep attributes that came with a change, when newer ones came before: Linux 6.12 at the
 * latest, and not 6.1. Undefined for other releases.
 */
export function expiresOvertakenAttributes(facts: GuestFacts): boolean | undefined {
  return isSince(facts, 6, 12) ? true : undefined
}

/** Linux 6.3: a request that makes something tells if the directory's group is one of the user's. */
export function tellsGroup({ minor }: GuestFacts): boolean {
  return minor >= LATER_FLAGS.CREATE_SUPP_GROUP
}

/** FUSE 7.39, Linux 6.6: the guest asks for a time of birth by STATX. */
export function hasStatx({ minor }: GuestFacts): boolean {
  return minor >= MMAP_SINCE
}

/** FUSE 7.45, Linux 6.18: the guest asks for FUSE_COPY_FILE_RANGE_64 first. */
export function asksCopyRange64({ minor }: GuestFacts): boolean {
  return minor >= COPY_RANGE_64_SINCE
}

/**
 * Returns true if the driver compares a reply with its request, and makes EIO of one that does not fit: Linux 7.1 (68b69fa0),
 * and stable releases that a probe finds out.
 */
export function checksReplies(facts: GuestFacts): boolean {
  return isSince(facts, 7, 1) || facts.refusesWrongUnique === true
}

/** Largest buffered READ: max_pages from Linux 7.3 (98b4ca23), the read-ahead size before. Undefined for large folios, 7.4. */
export function largestBufferedReadBytes(facts: GuestFacts): number | undefined {
  if (isSince(facts, 7, 4)) return undefined
  return isSince(facts, 7, 3) ? 1 << 20 : 128 << 10
}

/** Returns true if asynchronous O_DIRECT writes overlap. With FUSE_ASYNC_DIO they hold the inode's lock only until sent. */
export function asyncWritesOverlap(facts: GuestFacts): boolean {
  return facts.asyncDio || writesInParallel(facts)
}

/**
 * The same without O_DIRECT. Linux 6.12 and older write synchronously then; Linux 7.3 does not look at O_DIRECT. Undefined for
 * the releases between them.
 */
export function asyncWritesOverlapWithoutODirect(facts: GuestFacts): boolean | undefined {
  if (isSince(facts, 7, 3)) return asyncWritesOverlap(facts)
  return isSince(facts, 6, 13) ? undefined : writesInParallel(facts)
}
