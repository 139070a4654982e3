import { ENOSYS, EPERM } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

const { O_DIRECTORY, O_NOFOLLOW, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS } = native.constants

/** NO_SYMLINKS includes magic links. A link that the name itself stands for may be opened with O_PATH. */
const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS

const dot = Uint8Array.of(0x2e, 0)

/**
 * Opens names in directories. Each is one component that has been checked; should a check be missing one day, the kernel
 * refuses, too, to leave the directory (EXDEV) or to follow a link on the way (ELOOP).
 */
export class NameOpener {
  /** False where the kernel has no openat2 (before 5.6), or a container forbids it: then the checks are the only lock. */
  readonly locked: boolean

  /** Tries openat2 on a directory. */
  constructor(directoryFd: number) {
    const fd = native.openat2(directoryFd, dot, 0, O_PATH | O_DIRECTORY, 0, RESOLVE)
    this.locked = fd !== -ENOSYS && fd !== -EPERM
    if (fd >= 0) native.close(fd)
  }

  /** openat(2) of the name at byte `at`, never through a link. A descriptor or a negative errno. */
  open(directoryFd: number, name: Uint8Array, at: number, flags: number, mode: number): number {
    return this.locked
      ? native.openat2(directoryFd, name, at, flags | O_NOFOLLOW, mode, RESOLVE)
      : native.openat(directoryFd, name, at, flags | O_NOFOLLOW, mode)
  }
}
