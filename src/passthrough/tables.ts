import type { HandleTable } from 'virtio-fs-ts/protocol'
import type { OpenFile } from './files/open-file.js'
import type { FdBudget } from './inodes/fd-budget.js'
import type { HostFileSystems } from './inodes/host-file-system.js'
import type { InodeFinder } from './inodes/inode-finder.js'
import type { InodeTable } from './inodes/inode-table.js'
import type { NameOpener } from './names/name-opener.js'
import type { PassthroughOptions } from './passthrough-options.js'

/** What the guest holds of a share, and what finds inodes for it. */
export interface Tables {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly files: HandleTable<OpenFile>
}

/** Makes tables in place of a share's own, such as those that several threads share. */
export type MakeTables = (
  budget: FdBudget,
  opener: NameOpener,
  hosts: HostFileSystems,
  options: PassthroughOptions,
) => Tables
