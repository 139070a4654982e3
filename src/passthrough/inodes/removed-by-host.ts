import { performance } from 'node:perf_hooks'
import { FUSE_ROOT_ID, generationOfId, type Request, Statx, slotOfId } from 'virtio-fs-ts/protocol'
import type { PassthroughOptions } from '../passthrough-options.js'
import { HandleLife, type HostFileSystems } from './host-file-system.js'
import type { InodeTable } from './inode-table.js'
import { statxIsNameless } from './statx.js'
import type { TableSpace } from './table-space.js'

/** A power of two: opens of the guest that are refused and asked again at the same time. */
const MAX_REFUSED = 256
/** The numbers of one: the thread of the guest, and slot and generation of the inode. */
const REFUSED_WORDS = 3
/** A power of two: directories that have been found in use lately. */
const MAX_CHECKED = 256
/** A directory in use is not looked at again for this long. */
const CHECKED_MS = 100

interface Share {
  readonly inodes: InodeTable
  readonly hosts: HostFileSystems
  readonly options: PassthroughOptions
}

/**
 * Finds out that the host has removed or replaced what the guest reaches by a name that it remembers. What the guest wrote
 * there would be lost. On ESTALE, Linux looks up the whole path again.
 */
export class RemovedByHost {
  private readonly st = new Int32Array(Statx.WORDS)
  /** The inode that an open by a thread of the guest was refused last, by thread. */
  private readonly refused: Int32Array
  private readonly checkedSlots = new Int32Array(MAX_CHECKED)
  private readonly checkedMs = new Float64Array(MAX_CHECKED)

  /** `space`: the guest may ask again on another queue, which another thread serves. */
  constructor(
    private readonly share: Share,
    space: TableSpace,
  ) {
    this.refused = space.words('refused')
  }

  /** Returns true if the guest remembers names, and the host tells by the number of links what has none. */
  canBe(slot: number, fd: number): boolean {
    const { inodes, hosts, options } = this.share
    const { rules } = options
    // A path that begins at the root cannot lead to another one.
    if (slot === FUSE_ROOT_ID) return false
    if (!rules.any && rules.base.entryTimeoutSec === 0) return false
    // Other file systems may count no links at all.
    return hosts.of(inodes.deviceOf(slot), fd).handleLife === HandleLife.AsFile
  }

  /** Returns true if an open of `fd`, the inode of `request`, has to be refused with ESTALE. */
  refuses(request: Request, slot: number, fd: number): boolean {
    return this.canBe(slot, fd) && statxIsNameless(fd, this.st) && !this.insists(request)
  }

  /**
   * Returns true if this thread of the guest asks again for the inode that it was refused last. It has looked the name up
   * meanwhile, if there was one: it opens what the guest itself has removed, through a descriptor in /proc.
   */
  insists({ nodeid, pid }: Request): boolean {
    const { refused } = this
    const at = (pid & (MAX_REFUSED - 1)) * REFUSED_WORDS
    const slot = slotOfId(nodeid) | 0
    const generation = generationOfId(nodeid)
    const insists = refused[at] === pid && refused[at + 1] === slot && refused[at + 2] === generation
    refused[at] = pid
    refused[at + 1] = insists ? 0 : slot
    refused[at + 2] = generation
    return insists
  }

  /** Returns true if a directory, in which a name was not found, has no name itself. */
  isDirectoryGone(slot: number, fd: number): boolean {
    if (!this.canBe(slot, fd)) return false
    const n = slot & (MAX_CHECKED - 1)
    const nowMs = performance.now()
    if (this.checkedSlots[n] === slot && nowMs - this.checkedMs[n] < CHECKED_MS) return false
    if (statxIsNameless(fd, this.st)) return true
    this.checkedSlots[n] = slot
    this.checkedMs[n] = nowMs
    return false
  }
}
