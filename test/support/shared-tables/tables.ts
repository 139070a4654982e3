import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { FileHandles } from '../../../src/passthrough/inodes/file-handles.js'
import { HostFileSystems } from '../../../src/passthrough/inodes/host-file-system.js'
import { HostPaths } from '../../../src/passthrough/inodes/host-paths.js'
import { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import { InodeFinder } from '../../../src/passthrough/inodes/inode-finder.js'
import { InodeTable } from '../../../src/passthrough/inodes/inode-table.js'
import { LastPlaces } from '../../../src/passthrough/inodes/last-places.js'
import { MemoryAccount } from '../../../src/passthrough/memory-account.js'
import { NameOpener } from '../../../src/passthrough/names/name-opener.js'
import type { PassthroughOptions } from '../../../src/passthrough/passthrough-options.js'
import { SharedFiles } from '../../../src/passthrough/shared/shared-files.js'
import { SharedSpace } from '../../../src/passthrough/shared/shared-space.js'
import type { TableMemory } from '../../../src/passthrough/shared/table-memory.js'

/** One thread's view of the tables of a share. */
export class Tables {
  readonly space: SharedSpace
  readonly fds: InodeFds
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly open: SharedFiles
  readonly hosts: HostFileSystems
  readonly rootFd: number
  private readonly procFd = openPath('/proc/self/fd')
  outOfFds = 0

  constructor(memory: TableMemory, thread: number, directory: string, fdLimit: number) {
    this.rootFd = openPath(directory)
    const { rootFd, procFd } = this
    const places = new LastPlaces(
      rootFd,
      () => undefined,
      () => false,
      new MemoryAccount(),
    )
    const place = { memory, thread, isAlone: () => false, needsOneThread: () => {}, checkOthers: () => {} }
    this.space = new SharedSpace(place, fdLimit)
    const { budget, devices } = this.space
    const hosts = new HostFileSystems(devices)
    this.hosts = hosts
    const handles = FileHandles.usable(procFd, rootFd) ? new FileHandles(procFd, devices.mounts) : undefined
    this.fds = new InodeFds(budget, handles, hosts, places, () => this.outOfFds++, this.space)
    this.inodes = new InodeTable(this.fds, this.space)
    const options = {
      inodeLimit: 1e6,
      fileHandles: 'prefer',
      procFd,
      rules: { any: false },
      report: () => {},
    }
    this.finder = new InodeFinder(
      this.inodes,
      hosts,
      new NameOpener(rootFd),
      budget,
      // The finder uses no others.
      options as unknown as PassthroughOptions,
      new HostPaths(procFd, rootFd, this.inodes),
    )
    this.open = new SharedFiles(this.space, this.inodes, hosts)
  }

  close(): void {
    native.close(this.rootFd)
    native.close(this.procFd)
  }
}
