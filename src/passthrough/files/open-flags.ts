import { constants } from 'virtiofsd-ts-native'
import type { PassthroughOptions } from '../passthrough-options.js'

const { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_NOATIME, O_NOFOLLOW, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } =
  constants

/** What a guest may ask for. O_CREAT and O_EXCL are CREATE's own; everything else is not for an existing file. */
const ALLOWED = O_ACCMODE | O_DIRECT | O_DSYNC | O_NOATIME | O_SYNC | O_TRUNC

/**
 * The flags with which the host's file is opened for a guest's OPEN or CREATE.
 *
 * O_APPEND is left out: each WRITE says whether it appends, because a write-back of cached pages of the same file does
 * not. With write-back caching the guest reads, too, what it was only asked to write.
 */
export function hostOpenFlags(guestFlags: number, options: PassthroughOptions): number {
  const { writeback, allowDirectIo, preserveNoatime } = options
  let flags = guestFlags & ALLOWED
  if (!allowDirectIo) flags &= ~O_DIRECT
  // The guest has checked that its caller owns the file; the host would ask whether this process does.
  if (!preserveNoatime) flags &= ~O_NOATIME
  if (writeback && (flags & O_ACCMODE) === O_WRONLY) flags = (flags & ~O_ACCMODE) | O_RDWR
  return flags | O_NOFOLLOW
}

export function wantsAppend(guestFlags: number): boolean {
  return (guestFlags & O_APPEND) !== 0
}

/** Whether opening with these flags may change the file. */
export function opensForWriting(guestFlags: number): boolean {
  return (guestFlags & O_ACCMODE) !== 0 || (guestFlags & O_TRUNC) !== 0
}
