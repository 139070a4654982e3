import type { FdBudget } from '../inodes/fd-budget.js'
import type { HostFileSystem } from '../inodes/host-file-system.js'
import { HeldFd } from './held-fd.js'

/** A file that the guest has open. */
export class OpenFile extends HeldFd {
  constructor(
    fd: number,
    budget: FdBudget,
    /** What the guest has open; it may have forgotten it. */
    readonly nodeid: number,
    /** The descriptor bypasses the host's page cache: every transfer waits for a device. */
    readonly direct: boolean,
    /** The FOPEN flags that the guest was told. */
    readonly openFlags: number,
    readonly host: HostFileSystem,
    /** Opened for writing by the guest. */
    readonly writable: boolean,
    /** The host appends whatever is written to it: it takes nothing that has a place of its own. */
    readonly appendOnly: boolean,
  ) {
    super(fd, budget)
  }
}
