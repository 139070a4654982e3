import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'
import type { HostFileSystem } from '../inodes/host-file-system.js'
import { HeldFd } from './held-fd.js'

/** In the place of a descriptor: there is none. */
export const NO_FD = -1

/**
 * A file that the guest has open. `fd` goes through the host's page cache: a guest's kernel writes back, and fills its page
 * cache, through whichever handle it finds, with offsets and lengths that O_DIRECT does not take.
 */
export class OpenFile extends HeldFd {
  constructor(
    fd: number,
    budget: FdBudget,
    /** What the guest has open; it may have forgotten it. */
    readonly nodeid: number,
    /**
     * The same file with O_DIRECT, for what the guest itself reads and writes with it: every transfer waits for a device.
     * NO_FD: there is none. Taken over.
     */
    readonly directFd: number,
    /** The FOPEN flags that the guest was told. */
    readonly openFlags: number,
    readonly host: HostFileSystem,
    /** Opened for writing by the guest. */
    readonly writable: boolean,
    /** The host appends whatever is written to it: it takes nothing that has a place of its own. */
    readonly appendOnly: boolean,
    /** The guest may write to it in its page cache. */
    readonly writesPages: boolean,
  ) {
    super(fd, budget)
    if (directFd !== NO_FD) budget.take()
  }

  protected override close(): void {
    super.close()
    if (this.directFd === NO_FD) return
    native.close(this.directFd)
    this.budget.give()
  }
}
