import { type Introspection, Statx } from 'virtio-fs-ts/protocol'
import type { Handles } from './files/handles.js'
import type { OpenFile } from './files/open-file.js'
import type { HostPaths } from './inodes/host-paths.js'
import type { InodeTable } from './inodes/inode-table.js'

/** Tells which host objects the guest's ids stand for. */
export class HostIntrospection implements Introspection {
  private readonly st = new Int32Array(Statx.WORDS)

  constructor(
    private readonly inodes: InodeTable,
    private readonly paths: HostPaths,
    private readonly files: Handles<OpenFile>,
  ) {}

  pathOf(nodeid: number): string | undefined {
    const slot = this.inodes.slotOf(nodeid)
    return slot === 0 ? undefined : this.paths.of(slot)
  }

  sizeOf(nodeid: number): number {
    const slot = this.inodes.slotOf(nodeid)
    return slot === 0 || this.inodes.stat(slot, this.st) < 0 ? -1 : Statx.sizeBytes(this.st)
  }

  openFlagsOf(handle: number): number {
    return this.files.get(handle)?.openFlags ?? 0
  }
}
