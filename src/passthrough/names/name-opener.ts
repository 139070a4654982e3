import { ENOSYS, EPERM } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

const { O_DIRECTORY, O_NOFOLLOW, O_PATH, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS } = native.constants

/** NO_SYMLINKS includes magic links. O_PATH may still open a link that is the name itself. */
const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS

const dot = Uint8Array.of(0x2e, 0)

/**
 * Opens names in directories. Each name is one component that has been checked. The kernel enforces the same as a second
 * safeguard: it refuses to leave the directory (EXDEV) and to follow a link on the way (ELOOP).
 */
export class NameOpener {
  /** False if the kernel lacks openat2 (before 5.6) or a container forbids it. The checks are then the only safeguard. */
  readonly locked: boolean

  /** Tries openat2 on a directory. */
  constructor(directoryFd: number) {
    const fd = native.openat2(directoryFd, dot, 0, O_PATH | O_DIRECTORY, 0, RESOLVE)
    this.locked = fd !== -ENOSYS && fd !== -EPERM
    if (fd >= 0) native.close(fd)
  }

  /** openat(2) of the name at byte `at`, never through a link. Returns a descriptor or a negative errno. */
  open(directoryFd: number, name: Uint8Array, at: number, flags: number, mode: number): number {
    return this.locked
      ? native.openat2(directoryFd, name, at, flags | O_NOFOLLOW, mode, RESOLVE)
      : native.openat(directoryFd, name, at, flags | O_NOFOLLOW, mode)
  }
}
