import { HandleTable, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { descriptorError } from '../../../../src/passthrough/descriptors.js'
import { OpenFile } from '../../../../src/passthrough/files/open-file.js'
import { FdBudget } from '../../../../src/passthrough/inodes/fd-budget.js'
import type { HostFileSystems } from '../../../../src/passthrough/inodes/host-file-system.js'
import { InodeFds } from '../../../../src/passthrough/inodes/inode-fds.js'
import { InodeFinder } from '../../../../src/passthrough/inodes/inode-finder.js'
import { InodeTable } from '../../../../src/passthrough/inodes/inode-table.js'
import {
  STATX_MASK,
  statxDevMajor,
  statxDevMinor,
  statxMountId,
  statxSameFile,
} from '../../../../src/passthrough/inodes/statx.js'
import type { NameOpener } from '../../../../src/passthrough/names/name-opener.js'
import type { PassthroughOptions } from '../../../../src/passthrough/passthrough-options.js'
import type { Tables } from '../../../../src/passthrough/tables.js'
import { HANDLE_FIELDS, SharedHandles } from '../shared/shared-handles.js'
import { SharedInodes } from '../shared/shared-inodes.js'

const { AT_SYMLINK_NOFOLLOW, O_PATH } = native.constants
const CAPACITY = 1 << 18
const HANDLES = 1 << 16

export interface TableMemory {
  readonly inodes: SharedArrayBuffer
  readonly handles: SharedArrayBuffer
  readonly threads: number
}

export function makeTableMemory(threads: number): TableMemory {
  return {
    inodes: new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, threads)),
    handles: new SharedArrayBuffer(SharedHandles.bytes(HANDLES)),
    threads,
  }
}

/** One thread's view of the tables of a share. Everything but evictions, versions and the budget is shared. */
export class SharedTables {
  readonly inodes: SharedInodes
  readonly handles: SharedHandles

  constructor({ inodes, handles, threads }: TableMemory, thread: number) {
    this.inodes = new SharedInodes(inodes, CAPACITY, thread, threads, {
      close: (fd) => void native.close(fd),
      reopen: () => -116,
    })
    this.handles = new SharedHandles(handles, HANDLES, (slot) => this.inodes.retireOther(slot))
    this.inodes.freeOther = (slot) => this.handles.free(slot)
  }

  readonly make = (
    budget: FdBudget,
    opener: NameOpener,
    hosts: HostFileSystems,
    options: PassthroughOptions,
  ): Tables => {
    const inodes = new ThreadInodes(this.inodes, new ThreadFds(this.inodes, hosts))
    return {
      inodes,
      finder: new ThreadFinder(this.inodes, inodes, hosts, opener, budget, options),
      files: new ThreadFiles(this, inodes, hosts, budget),
    }
  }
}

/** The number of a device, as one mount shows it: a prototype's, which may collide. */
function deviceOf(st: StatxWords): number {
  return (
    (Math.imul(statxDevMajor(st), 0x9e3779b1) ^ Math.imul(statxDevMinor(st), 0x85ebca6b) ^ statxMountId(st)) |
    0
  )
}

class ThreadFds extends InodeFds {
  constructor(
    private readonly shared: SharedInodes,
    hosts: HostFileSystems,
  ) {
    // The places of descriptors are used for evictions only.
    super(new FdBudget(1 << 20), undefined, hosts, undefined as never, () => {})
  }

  override get(slot: number): number {
    return this.shared.fdOf(slot)
  }

  override makeRoom(): boolean {
    return true
  }

  override pin(slot: number): void {
    this.shared.pin(slot)
  }

  override unpin(slot: number): void {
    this.shared.unpin(slot)
  }
}

class ThreadInodes extends InodeTable {
  constructor(
    private readonly shared: SharedInodes,
    fds: InodeFds,
  ) {
    super(fds)
  }

  override slotOf(nodeid: number): number {
    return this.shared.slotOf(nodeid)
  }

  override keptSlotOf(nodeid: number): number {
    return this.shared.slotOf(nodeid)
  }

  override idOf(slot: number): number {
    return this.shared.idOf(slot)
  }

  override fdOf(slot: number): number {
    return this.shared.fdOf(slot)
  }

  override typeOf(slot: number): number {
    return this.shared.typeOf(slot)
  }

  override deviceOf(slot: number): number {
    return this.shared.deviceOf(slot)
  }

  override inoLowOf(slot: number): number {
    return this.shared.inoLowOf(slot)
  }

  override inoHighOf(slot: number): number {
    return this.shared.inoHighOf(slot)
  }

  /** Takes over the root's descriptor; other inodes come by the finder. */
  override add(fd: number, st: StatxWords): number {
    return this.shared.addRoot(deviceOf(st), Statx.inoLow(st), Statx.inoHigh(st), Statx.mode(st) >>> 12, fd)
  }

  override isKnown(slot: number): boolean {
    return this.shared.isKnown(slot)
  }

  override ref(slot: number): void {
    this.shared.ref(slot)
  }

  override unref(slot: number, count: number): void {
    this.shared.unref(slot, count)
  }

  override clear(): void {}
}

class ThreadFinder extends InodeFinder {
  private readonly madeSt = new Int32Array(Statx.WORDS)
  private expectsMore = false

  constructor(
    private readonly shared: SharedInodes,
    inodes: InodeTable,
    hosts: HostFileSystems,
    private readonly names: NameOpener,
    budget: FdBudget,
    private readonly settings: PassthroughOptions,
  ) {
    super(inodes, hosts, names, budget, settings)
  }

  override lookupListed(parent: number, name: Uint8Array, at: number, st: StatxWords): number {
    return this.lookup(parent, name, at, st)
  }

  override lookup(parent: number, name: Uint8Array, at: number, st: StatxWords): number {
    const { shared } = this
    const parentFd = shared.fdOf(parent)
    if (parentFd < 0) return parentFd
    if (!this.expectsMore) {
      const result = native.statx(parentFd, name, at, AT_SYMLINK_NOFOLLOW, STATX_MASK, st)
      if (result < 0) return result
      const known = shared.find(deviceOf(st), Statx.inoLow(st), Statx.inoHigh(st))
      if (known !== 0) return known
    }
    const fd = this.names.open(parentFd, name, at, O_PATH, 0)
    return fd < 0 ? descriptorError(fd) : this.adopt(fd, st)
  }

  override adopt(fd: number, st: StatxWords): number {
    const result = native.fstatx(fd, STATX_MASK, st)
    if (result >= 0) return this.take(fd, st)
    native.close(fd)
    return result
  }

  override adoptMade(fd: number, parentFd: number, name: Uint8Array, at: number, st: StatxWords): number {
    const named = this.names.open(parentFd, name, at, O_PATH, 0)
    if (named >= 0 && statxSameFile(fd, named, st, this.madeSt)) return this.take(named, st)
    if (named >= 0) native.close(named)
    const pathFd = native.inodeOpen(this.settings.procFd, fd, O_PATH)
    return pathFd < 0 ? descriptorError(pathFd) : this.adopt(pathFd, st)
  }

  private take(fd: number, st: StatxWords): number {
    const { shared } = this
    const slot = shared.add(deviceOf(st), Statx.inoLow(st), Statx.inoHigh(st), Statx.mode(st) >>> 12, fd)
    this.expectsMore = shared.added
    if (!shared.added) native.close(fd)
    return slot === 0 ? -23 : slot
  }
}

const IS_WRITABLE = 1
const IS_APPEND_ONLY = 2
const WRITES_PAGES = 4

/** An open file as one thread sees it. Its descriptors are closed when no thread can be using them. */
class ThreadFile extends OpenFile {
  constructor(
    private readonly shared: SharedInodes,
    ...[fd, directFd, budget, nodeid, host, use]: ConstructorParameters<typeof OpenFile>
  ) {
    super(fd, directFd, budget, nodeid, host, use)
  }

  protected override close(): void {
    this.shared.retireFd(this.fd)
    if (this.directFd >= 0) this.shared.retireFd(this.directFd)
  }
}

class ThreadFiles extends HandleTable<OpenFile> {
  private readonly seen: (OpenFile | undefined)[] = []
  private readonly seenHandles: number[] = []
  private readonly fields = new Int32Array(HANDLE_FIELDS)
  private readonly unlimited = new FdBudget(1 << 20)

  constructor(
    private readonly tables: SharedTables,
    private readonly inodes: ThreadInodes,
    private readonly hosts: HostFileSystems,
    private readonly budget: FdBudget,
  ) {
    super()
  }

  override add(file: OpenFile): number {
    const { fields } = this
    const slot = file.nodeid >>> 0
    // Threads share no budget.
    this.budget.give()
    fields[0] = file.fd
    fields[1] = file.directFd
    fields[2] = file.openFlags
    fields[3] =
      (file.isWritable ? IS_WRITABLE : 0) |
      (file.isAppendOnly ? IS_APPEND_ONLY : 0) |
      (file.writesPages ? WRITES_PAGES : 0)
    fields[4] = slot
    fields[5] = (file.nodeid - slot) / 0x1_0000_0000
    return this.tables.handles.add(fields)
  }

  override get(handle: number): OpenFile | undefined {
    const slot = this.tables.handles.slotOf(handle)
    if (slot === 0) return undefined
    return this.seenHandles[slot] === handle ? this.seen[slot] : this.see(slot, handle)
  }

  override remove(handle: number): OpenFile | undefined {
    const file = this.get(handle)
    return file !== undefined && this.tables.handles.remove(handle) ? file : undefined
  }

  private see(slot: number, handle: number): OpenFile {
    const { handles, inodes } = this.tables
    const inode = handles.field(slot, 4)
    const fd = handles.field(slot, 0)
    const use = handles.field(slot, 3)
    const host = this.hosts.of(this.inodes.deviceOf(inode), fd)
    const nodeid = handles.field(slot, 5) * 0x1_0000_0000 + inode
    const file = new ThreadFile(inodes, fd, handles.field(slot, 1), this.unlimited, nodeid, host, {
      openFlags: handles.field(slot, 2),
      isWritable: (use & IS_WRITABLE) !== 0,
      isAppendOnly: (use & IS_APPEND_ONLY) !== 0,
      writesPages: (use & WRITES_PAGES) !== 0,
    })
    while (this.seen.length <= slot) {
      this.seen.push(undefined)
      this.seenHandles.push(-1)
    }
    this.seen[slot] = file
    this.seenHandles[slot] = handle
    return file
  }
}
