import { generationOfId, idOf, slotOfId } from 'virtio-fs-ts/protocol'
import { type Leftovers, NOWHERE } from '../files/leftovers.js'
import { OpenDirectory } from '../files/open-directory.js'
import { PaidBudget } from './shared-files.js'
import { SharedHandles } from './shared-handles.js'
import type { SharedSpace } from './shared-space.js'

/** The field that says which thread has read from the directory last, plus 1. */
const READER = 3

/** An open directory as one thread sees it. */
class SharedDirectory extends OpenDirectory {
  constructor(
    private readonly directories: SharedDirectories,
    readonly slot: number,
    ...[fd, budget, nodeid]: ConstructorParameters<typeof OpenDirectory>
  ) {
    super(fd, budget, nodeid)
  }

  override get isShared(): boolean {
    return this.directories.usersOf(this.slot) > 1
  }

  override hold(): boolean {
    return this.directories.holdRow(this.slot)
  }

  override release(): void {
    if (this.directories.releaseRow(this.slot)) this.directories.closeLater(this.fd)
  }
}

/**
 * The guest's open directories, for several threads. All of them read from one descriptor, and each keeps what it has read
 * and not sent. A thread that is not the last reader does not know where the descriptor stands.
 */
export class SharedDirectories extends SharedHandles<OpenDirectory> {
  private readonly paid = new PaidBudget()

  constructor(
    space: SharedSpace,
    private readonly leftovers: Leftovers,
  ) {
    super(space, 'directories')
  }

  override get(handle: number): OpenDirectory | undefined {
    const directory = super.get(handle)
    if (!(directory instanceof SharedDirectory)) return undefined
    const reader = this.space.thread + 1
    if (this.fieldsOf(directory.slot)[READER] === reader) return directory
    this.leftovers.drop(directory)
    directory.atLow = NOWHERE
    this.setField(directory.slot, READER, reader)
    return directory
  }

  protected override unsee(directory: OpenDirectory): void {
    this.leftovers.drop(directory)
  }

  protected override write(directory: OpenDirectory, fields: Int32Array): void {
    fields[0] = directory.fd
    fields[1] = slotOfId(directory.nodeid)
    fields[2] = generationOfId(directory.nodeid)
    // A directory from another process may stand anywhere.
    fields[READER] = 0
  }

  protected override read(slot: number, fields: Int32Array): OpenDirectory {
    const [fd, inodeSlot, generation] = fields
    return new SharedDirectory(this, slot, fd, this.paid, idOf(inodeSlot >>> 0, generation))
  }
}
