import { constants } from 'virtiofsd-ts-native'
import type { PassthroughOptions } from '../passthrough-options.js'

const { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_NOATIME, O_NOFOLLOW, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } =
  constants

/** The flags that a guest may pass. O_CREAT and O_EXCL belong to CREATE; other flags do not suit an existing file. */
const ALLOWED = O_ACCMODE | O_DIRECT | O_DSYNC | O_NOATIME | O_SYNC | O_TRUNC

/**
 * The flags for opening the host's file for a guest's OPEN or CREATE.
 *
 * O_APPEND is left out: each WRITE says if it appends, and a write-back of cached pages of the same file does not append.
 * With write-back caching the guest also reads files that a program opened only for writing.
 */
export function hostOpenFlags(guestFlags: number, options: PassthroughOptions): number {
  const { writeback, allowDirectIo, preserveNoatime } = options
  let flags = guestFlags & ALLOWED
  if (!allowDirectIo) flags &= ~O_DIRECT
  // The guest has checked that its caller owns the file. The host would check this process instead.
  if (!preserveNoatime) flags &= ~O_NOATIME
  if (writeback && (flags & O_ACCMODE) === O_WRONLY) flags = (flags & ~O_ACCMODE) | O_RDWR
  return flags | O_NOFOLLOW
}

export function wantsAppend(guestFlags: number): boolean {
  return (guestFlags & O_APPEND) !== 0
}

export function isWriteOnly(flags: number): boolean {
  return (flags & O_ACCMODE) === O_WRONLY
}

/** Returns true if opening with these flags may change the file. */
export function opensForWriting(guestFlags: number): boolean {
  return (guestFlags & O_ACCMODE) !== 0 || (guestFlags & O_TRUNC) !== 0
}
