import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { HostFileSystem } from '../inodes/host-file-system.js'
import type { CountedInode } from '../quota/counted-inode.js'
import { HeldFd } from './held-fd.js'

const { F_UNLCK, O_NONBLOCK } = native.constants

/** Stands for a missing descriptor. */
export const NO_FD = -1

/** What the guest opened a file for. */
export interface FileUse {
  /** The FOPEN flags sent to the guest. */
  readonly openFlags: number
  /** The guest has opened it for writing. */
  readonly isWritable: boolean
  /** The host appends all data written to it, so it takes no data for a given offset. */
  readonly isAppendOnly: boolean
  /** Writes of the guest to it may go to the guest's page cache. */
  readonly writesPages: boolean
}

/**
 * A file that the guest has open. `fd` goes through the host's page cache: a guest's kernel reads and writes back cached
 * pages through any handle of the file, with offsets and lengths that O_DIRECT does not take.
 */
export class OpenFile extends HeldFd implements FileUse {
  readonly openFlags: number
  readonly isWritable: boolean
  readonly isAppendOnly: boolean
  readonly writesPages: boolean
  /** The descriptors may still have the O_NONBLOCK of an open that was not to wait for a lease. */
  private mayBeNonblocking = true
  /** The kind of its flock: F_RDLCK, F_WRLCK, or F_UNLCK for none. */
  flock = F_UNLCK

  constructor(
    fd: number,
    /**
     * The same file with O_DIRECT, for the guest program's own reads and writes: each transfer waits for a device. NO_FD if
     * there is none. Taken over.
     */
    readonly directFd: number,
    budget: FdBudget,
    /** The inode of the open file. The guest may have forgotten the inode. */
    readonly nodeid: number,
    readonly host: HostFileSystem,
    { openFlags, isWritable, isAppendOnly, writesPages }: FileUse,
  ) {
    super(fd, budget)
    this.openFlags = openFlags
    this.isWritable = isWritable
    this.isAppendOnly = isAppendOnly
    this.writesPages = writesPages
    if (directFd !== NO_FD) budget.take()
  }

  /** With a quota: what is counted of its inode, the changes in the background, and if the guest has closed it. */
  counted: CountedInode | undefined
  pendingChanges = 0
  isReleased = false

  /**
   * Takes O_NONBLOCK off the descriptors, once. io_uring may answer EAGAIN to a transfer with it, and so may file systems
   * that are no ordinary ones. Most files are closed without ever needing this.
   */
  setBlocking(): void {
    if (!this.mayBeNonblocking) return
    this.mayBeNonblocking = false
    clearNonblock(this.fd)
    if (this.directFd !== NO_FD) clearNonblock(this.directFd)
  }

  protected override close(): void {
    super.close()
    if (this.directFd === NO_FD) return
    native.close(this.directFd)
    this.budget.give()
  }
}

function clearNonblock(fd: number): void {
  native.setStatusFlags(fd, native.statusFlags(fd) & ~O_NONBLOCK)
}
