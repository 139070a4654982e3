import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { STATX_MASK, statxIsSame } from '../inodes/statx.js'

const { AT_SYMLINK_NOFOLLOW } = native.constants

const made = new Int32Array(Statx.WORDS)
const named = new Int32Array(Statx.WORDS)

/**
 * Removes a name that was just made for the file of `fd`, unless the host or another guest has replaced it meanwhile.
 * `flags` are those of unlinkat(2).
 */
export function removeMadeName(
  fd: number,
  directoryFd: number,
  name: Uint8Array,
  at: number,
  flags: number,
): void {
  if (fd < 0 || directoryFd < 0) return
  if (native.fstatx(fd, STATX_MASK, made) < 0) return
  if (native.statx(directoryFd, name, at, AT_SYMLINK_NOFOLLOW, STATX_MASK, named) < 0) return
  if (statxIsSame(made, named)) native.unlinkat(directoryFd, name, at, flags)
}
