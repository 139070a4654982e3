import * as native from 'virtiofsd-ts-native'
import { DirectoryNames } from '../inodes/dirents.js'
import { FileHandles } from '../inodes/file-handles.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'

const { O_DIRECTORY, O_NONBLOCK, O_RDONLY } = native.constants

const NONE = -1
/** Names of other files that may be read on the way, and how many more for each one that was looked for. */
const SPARE_NAMES = 10_000
const SPARE_NAMES_EACH = 4

/** The parts of the share that are read. */
interface Share {
  readonly inodes: InodeTable
  readonly procFd: number
}

/**
 * Reads directories that the guest knows, one after the other, for the names of inodes that it knows in them, directories
 * excepted. To open each of these inodes and ask the kernel for its path takes several times as long.
 */
export class KnownNames {
  /** The inode of the present name, or 0 if it is no name of an inode that the guest knows. */
  slot = 0
  /** Its file handle. Valid until the next call. */
  handle: Uint8Array = new Uint8Array(0)
  /** The number of names in the present directory that are those of other files. */
  strangers = 0
  private readonly names = new DirectoryNames()
  private readonly handles: FileHandles
  private fd = NONE
  private device = 0
  private isAhead = false
  private found = 0
  private others = 0

  constructor(private readonly share: Share) {
    this.handles = new FileHandles(share.procFd)
  }

  /** True once most of the names were those of other files: it does not pay to go on. */
  get isSpent(): boolean {
    return this.others > SPARE_NAMES + SPARE_NAMES_EACH * this.found
  }

  /** Begins with a directory, given its slot and a descriptor of it. Returns false if it cannot be read. */
  open(directory: number, pathFd: number): boolean {
    const { inodes, procFd } = this.share
    this.close()
    this.fd = native.inodeOpen(procFd, pathFd, O_RDONLY | O_DIRECTORY | O_NONBLOCK)
    this.device = inodes.deviceOf(directory)
    this.isAhead = false
    this.strangers = 0
    return this.fd >= 0
  }

  /** Goes to the next name, whose `slot` may be 0. `isWanted` spares the rest for others. Returns false at the end. */
  next(isWanted: (slot: number) => boolean): boolean {
    const { names, fd } = this
    const got = this.isAhead ? names.next(fd) : names.first(fd)
    this.isAhead = true
    this.slot = 0
    if (got <= 0) return false
    const { inodes } = this.share
    // As an inode table has them: signed.
    const slot = inodes.slotAt(this.device, names.inoLow | 0, names.inoHigh | 0)
    if (slot === 0) {
      this.others++
      this.strangers++
      return true
    }
    this.found++
    // Directories are few, and may be mount points: the kernel is asked for their paths.
    if (!isWanted(slot) || inodes.typeOf(slot) === TYPE_DIRECTORY) return true
    const handle = inodes.fds.handleOf(slot)
    // The number of a deleted file may be another's by now, and a mount may hide the file.
    if (handle === undefined || !this.handles.isAt(fd, names.bytes, names.nameAt, handle)) return true
    this.handle = handle
    this.slot = slot
    return true
  }

  /** The bytes of the present name are those of `bytes` from `nameAt` on. */
  get bytes(): Uint8Array {
    return this.names.bytes
  }
  get nameAt(): number {
    return this.names.nameAt
  }
  get nameBytes(): number {
    return this.names.nameBytes
  }

  close(): void {
    if (this.fd >= 0) native.close(this.fd)
    this.fd = NONE
  }
}
