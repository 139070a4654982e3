import { generationOfId, idOf, slotOfId } from 'virtio-fs-ts/protocol'
import { type FileUse, OpenFile } from '../files/open-file.js'
import { FdBudget } from '../inodes/fd-budget.js'
import { type HostFileSystems, hostFileSystemAt } from '../inodes/host-file-system.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { SharedHandles } from './shared-handles.js'
import type { SharedSpace } from './shared-space.js'

const IS_WRITABLE = 1
const IS_APPEND_ONLY = 2
const WRITES_PAGES = 4
/** FOPEN flags are below this bit. */
const USE_SHIFT = 24

/** A descriptor counts from the time when its file was opened: not once more for each thread that meets it. */
export class PaidBudget extends FdBudget {
  constructor() {
    super(Number.MAX_SAFE_INTEGER)
  }

  override take(): void {}
}

/** An open file as one thread sees it. */
class SharedFile extends OpenFile {
  constructor(
    private readonly files: SharedFiles,
    private readonly slot: number,
    ...[fd, directFd, budget, nodeid, host, use]: ConstructorParameters<typeof OpenFile>
  ) {
    super(fd, directFd, budget, nodeid, host, use)
  }

  override get isShared(): boolean {
    return this.files.usersOf(this.slot) > 1
  }

  override hold(): boolean {
    return this.files.holdRow(this.slot)
  }

  override release(): void {
    if (!this.files.releaseRow(this.slot)) return
    this.files.closeLater(this.fd)
    if (this.directFd >= 0) this.files.closeLater(this.directFd)
  }
}

/** The guest's open files, for several threads. */
export class SharedFiles extends SharedHandles<OpenFile> {
  private readonly paid = new PaidBudget()

  constructor(
    space: SharedSpace,
    private readonly inodes: InodeTable,
    private readonly hosts: HostFileSystems,
  ) {
    super(space, 'files')
  }

  protected override write(file: OpenFile, fields: Int32Array): void {
    const use =
      (file.isWritable ? IS_WRITABLE : 0) |
      (file.isAppendOnly ? IS_APPEND_ONLY : 0) |
      (file.writesPages ? WRITES_PAGES : 0)
    fields[0] = file.fd
    fields[1] = file.directFd
    fields[2] = file.openFlags | (use << USE_SHIFT)
    fields[3] = slotOfId(file.nodeid)
    fields[4] = generationOfId(file.nodeid)
  }

  protected override read(slot: number, fields: Int32Array): OpenFile {
    const [fd, directFd, flags, inodeSlot, generation] = fields
    const nodeid = idOf(inodeSlot >>> 0, generation)
    const inode = this.inodes.slotOf(nodeid)
    const host = inode === 0 ? hostFileSystemAt(fd) : this.hosts.of(this.inodes.deviceOf(inode), fd)
    const use = flags >>> USE_SHIFT
    const settings: FileUse = {
      openFlags: flags & ((1 << USE_SHIFT) - 1),
      isWritable: (use & IS_WRITABLE) !== 0,
      isAppendOnly: (use & IS_APPEND_ONLY) !== 0,
      writesPages: (use & WRITES_PAGES) !== 0,
    }
    return new SharedFile(this, slot, fd, directFd, this.paid, nodeid, host, settings)
  }
}
