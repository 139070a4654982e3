import { EOPNOTSUPP } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { damaged } from '../../state/blocks.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import { FileHandles } from '../inodes/file-handles.js'
import { HandleLife, handleLifeAt } from '../inodes/host-file-system.js'
import { openBelow } from '../inodes/open-below.js'
import type { NameOpener } from '../names/name-opener.js'

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY } = native.constants

/** Section DEVS: for each device number of the source, the path of a directory on it, in base64. */
export const DEVICES = { tag: 'DEVS', version: 1, isRequired: true } as const
/** Section DEVH: the file handles of these directories, in base64. It comes behind DEVS. */
export const DEVICE_HANDLES = { tag: 'DEVH', version: 1, isRequired: false } as const

/** Descriptors by which the file handles of the source's devices are opened here. */
export class Mounts {
  private readonly fds = new Map<number, number>()

  constructor(
    private readonly rootFd: number,
    private readonly opener: NameOpener,
    private readonly budget: FdBudget,
  ) {}

  /** Takes section DEVS. A directory that is not here, or too many of them, leaves a device without handles. */
  take(paths: Record<string, unknown>): void {
    for (const [device, path] of Object.entries(paths)) {
      if (typeof path !== 'string') throw damaged('a device has no path')
      const flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK
      const bytes = new Uint8Array(Buffer.from(path, 'base64'))
      if (bytes.includes(0)) throw damaged('a path contains a NUL')
      if (this.fds.has(Number(device))) throw damaged('a device comes twice')
      if (this.budget.left === 0) return
      const fd = openBelow(this.rootFd, this.opener, bytes, flags)
      if (fd < 0) continue
      this.budget.take()
      this.fds.set(Number(device), fd)
    }
  }

  /**
   * Takes section DEVH. A device without the same directory at its path has no handles here: some would open a file of
   * another file system, such as its root, whose handle is the same everywhere.
   */
  verify(handles: Record<string, unknown>): void {
    for (const [device, fd] of this.fds) {
      const here = FileHandles.of(fd)
      if (here === undefined || handles[device] === Buffer.from(here).toString('base64')) continue
      this.fds.delete(device)
      native.close(fd)
      this.budget.give()
    }
  }

  /** Opens a file handle with O_PATH. Returns a descriptor or a negative errno. */
  open(device: number, handle: Uint8Array): number {
    const fd = this.fds.get(device)
    return fd === undefined ? -EOPNOTSUPP : native.inodeOpenByHandle(fd, handle, O_PATH | O_NOFOLLOW)
  }

  /** Returns true if the handles of a device are valid as long as their files exist. */
  hasLastingHandles(device: number): boolean {
    const fd = this.fds.get(device)
    return fd !== undefined && handleLifeAt(fd) === HandleLife.AsFile
  }

  close(): void {
    for (const fd of this.fds.values()) {
      native.close(fd)
      this.budget.give()
    }
    this.fds.clear()
  }
}
