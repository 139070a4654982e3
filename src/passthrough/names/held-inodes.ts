import { ENFILE, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { HandleLife, type HostFileSystems } from '../inodes/host-file-system.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { STATX_MASK } from '../inodes/statx.js'

const { AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW } = native.constants

/** The parts of the share that this uses. */
interface Share {
  readonly inodes: InodeTable
  readonly hosts: HostFileSystems
}

/**
 * The inodes of names that are about to go. The guest may refer to one that it does not have open: by an O_PATH descriptor,
 * a working directory, a bind mount or a watch. Without its last name no file handle finds the inode, so it gets a
 * descriptor before. It keeps that one afterwards, as every inode without a name does.
 */
export class HeldInodes {
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly slots: number[] = []

  constructor(private readonly share: Share) {}

  /**
   * Holds the inode of a name that is removed. Returns 0, also if the guest does not know it, or -ENFILE if no descriptor is
   * left for it. Call `letGo` in both cases.
   */
  holdRemoved(directory: number, name: Uint8Array, at: number): number {
    if (!this.share.inodes.fds.someRest || !this.find(directory, name, at)) return 0
    const hasOthers = Statx.nlink(this.st) > 1 && Statx.mode(this.st) >>> 12 !== TYPE_DIRECTORY
    return this.hold(directory, name, at, hasOthers)
  }

  /** The same for the inode of a name that becomes another one: where it is looked for by its name, that is too old then. */
  holdMoved(directory: number, name: Uint8Array, at: number): number {
    if (!this.share.inodes.fds.someRest || !this.find(directory, name, at)) return 0
    return this.hold(directory, name, at, true)
  }

  /** The name has gone, or not. */
  letGo(): void {
    for (const slot of this.slots) this.share.inodes.fds.unpin(slot)
    this.slots.length = 0
  }

  private find(directory: number, name: Uint8Array, at: number): boolean {
    const fd = this.share.inodes.fdOf(directory)
    return (
      fd >= 0 && native.statx(fd, name, at, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MASK, this.st) === 0
    )
  }

  /** With `hasName` the inode has a name afterwards: only a file system whose handles may die needs a descriptor then. */
  private hold(directory: number, name: Uint8Array, at: number, hasName: boolean): number {
    const { inodes, hosts } = this.share
    for (const device of inodes.devicesOf(this.st)) {
      if (hasName && hosts.lifeOn(device) === HandleLife.AsFile) continue
      const parentFd = inodes.fdOf(directory)
      inodes.lock()
      const slot = inodes.findOn(device, this.st, parentFd, name, at)
      const isKnown = slot !== 0 && inodes.isKnown(slot)
      if (isKnown) inodes.fds.pin(slot)
      inodes.unlock()
      if (!isKnown) continue
      this.slots.push(slot)
      if (inodes.fdOf(slot) === -ENFILE) return -ENFILE
    }
    return 0
  }
}
