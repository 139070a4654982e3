/**
 * What Linux does with direct I/O, shared mappings and parallel direct writes, by what it negotiated. Source: fs/fuse of
 * the releases named. A newer kernel is expected to do as 6.9 and later.
 */

import type { ShareName } from './option-sets.js'

/** What a guest and one of its shares agreed on. */
export interface GuestFacts {
  readonly share: ShareName
  /** As uname -r says. */
  readonly release: string
  /** FUSE 7.minor, as the guest said at INIT. */
  readonly minor: number
  /** The share's opens that are direct reply FOPEN_PARALLEL_DIRECT_WRITES. */
  readonly parallelDio: boolean
  /** FUSE_DIRECT_IO_ALLOW_MMAP was asked for by the share's options, and agreed on with this guest. */
  readonly asksMmap: boolean
  readonly allowMmap: boolean
  /** FUSE_ASYNC_DIO was agreed on. */
  readonly asyncDio: boolean
}

/** Linux 6.2, and 6.1 since its stable releases took the flag over together with the version. */
const PARALLEL_SINCE = 38
/** Linux 6.6 to 6.8. */
const MMAP_SINCE = 39
/** Linux 6.9: an inode is in caching or in uncached mode (fs/fuse/iomode.c). */
const IO_MODES_SINCE = 40

/** Whether the guest's kernel has FUSE_DIRECT_IO_ALLOW_MMAP. */
export function knowsAllowMmap({ minor }: GuestFacts): boolean {
  return minor >= MMAP_SINCE
}

/** Whether a cached open or a shared mapping of a file makes writes through its direct opens exclusive. */
export function hasIoModes({ minor }: GuestFacts): boolean {
  return minor >= IO_MODES_SINCE
}

/** Whether synchronous direct writes within a file, on an inode that nobody caches, hold its lock together. */
export function writesInParallel(facts: GuestFacts): boolean {
  if (!facts.parallelDio || facts.minor < PARALLEL_SINCE) return false
  return hasIoModes(facts) || !facts.allowMmap || isEarly66(facts)
}

/** The same while the inode is open cached or mapped shared. */
export function writesInParallelWhenCached(facts: GuestFacts): boolean {
  return writesInParallel(facts) && !hasIoModes(facts)
}

/** Up to 6.6.7 allow-mmap and parallel dio were on together; later 6.6, 6.7 and 6.8 switch the second off for the first. */
function isEarly66({ release }: GuestFacts): boolean {
  return /^6\.6\.[0-7](\D|$)/.test(release)
}

/** A release as numbers: "6.12.117+deb13-cloud-amd64" is [6, 12, 117]. Debian's "6.1.0-50" does not tell its stable release. */
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
 * Pages that were read while a synchronous direct write was in flight are dropped after it: Linux 6.19 (b359af82), and the
 * stable releases 6.12.64 and 6.18.y. Undefined where a stable release may have it.
 */
export function dropsPagesAfterWrite(facts: GuestFacts): boolean | undefined {
  const [major, minor, patch] = releaseOf(facts)
  if (isSince(facts, 6, 19)) return true
  if (major === 6 && minor === 12) return patch === undefined ? undefined : patch >= 64
  return major === 6 && minor === 18 && patch !== 0 ? undefined : false
}

/** Buffered reads of up to max_pages: Linux 7.3 (98b4ca23). Before, read-ahead ends them. Undefined for large folios, 7.4. */
export function largestBufferedReadBytes(facts: GuestFacts): number | undefined {
  if (isSince(facts, 7, 4)) return undefined
  return isSince(facts, 7, 3) ? 1 << 20 : 128 << 10
}

/** Asynchronous writes with O_DIRECT leave the inode's lock once they are sent, with or without the parallel flag. */
export function asyncWritesOverlap(facts: GuestFacts): boolean {
  return facts.asyncDio || writesInParallel(facts)
}
