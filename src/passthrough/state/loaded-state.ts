import { StateError } from 'vhost-user-ts'
import { ESTALE, FUSE_ROOT_ID, idOf, MAX_GENERATION, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { damaged } from '../../state/blocks.js'
import {
  DIRECTORIES,
  type DirectoryRecord,
  DirectoryRecords,
  FILES,
  type FileRecord,
  FileRecords,
  Flock,
  FREE_DIRECTORIES,
  FREE_FILES,
  FreeSlotRecords,
  LOCKS,
  type LockRecord,
  LockRecords,
} from '../../state/handle-records.js'
import { FREE_INODES, INODES, InodeDecoder, type InodeRecord } from '../../state/inode-records.js'
import { objectOf, type SectionTaker } from '../../state/sections.js'
import type { FileOpener } from '../files/file-opener.js'
import type { Handles } from '../files/handles.js'
import { OpenDirectory } from '../files/open-directory.js'
import type { OpenFile } from '../files/open-file.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import { FileHandles } from '../inodes/file-handles.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { openBelow } from '../inodes/open-below.js'
import { STATX_MASK, statxMountId } from '../inodes/statx.js'
import type { LockOperations } from '../locks/locks.js'
import type { NameOpener } from '../names/name-opener.js'
import { LostItems, type LostKind } from './lost-items.js'
import { DEVICE_HANDLES, DEVICES, Mounts } from './mounts.js'
import type { MigrationOptions } from './options.js'
import { ParentDirectories } from './parent-directories.js'

const { AT_SYMLINK_NOFOLLOW, F_RDLCK, F_WRLCK, O_DIRECTORY, O_PATH, O_RDONLY } = native.constants

/** Slots that are free at the source are counted too, so there may be more than inodes or handles. */
const FREE_SLOTS_FACTOR = 2
const SPARE_SLOTS = 65_536

/** The type of a lock for each value of Flock but `none`. */
const lockTypes: ReadonlyMap<number, number> = new Map([
  [Flock.shared, F_RDLCK],
  [Flock.exclusive, F_WRLCK],
])

/** The parts of the share that are filled. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly directories: Handles<OpenDirectory>
  readonly locks: LockOperations
  readonly opener: NameOpener
  readonly budget: FdBudget
  readonly procFd: number
  readonly options: { readonly inodeLimit: number }
}

/** Fills a share that has only its root from the sections of another one. */
export class LoadedState {
  private readonly mounts: Mounts
  private readonly lost: LostItems
  private readonly parents: ParentDirectories
  private readonly handles: FileHandles
  private readonly decoder = new InodeDecoder()
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly maxInodeSlot: number
  private readonly maxHandleSlot: number
  /** Slots of inodes that no migration has to find: their open directories are lost quietly, too. */
  private readonly lostSlots = new Set<number>()

  constructor(
    private readonly share: Share,
    private readonly fileOpener: FileOpener,
    private readonly rootFd: number,
    private readonly migration: MigrationOptions,
  ) {
    this.mounts = new Mounts(rootFd, share.opener, share.budget)
    this.parents = new ParentDirectories(rootFd, share.opener, share.budget)
    this.handles = new FileHandles(share.procFd)
    this.lost = new LostItems(migration.onError)
    this.maxInodeSlot = FREE_SLOTS_FACTOR * share.options.inodeLimit + SPARE_SLOTS
    this.maxHandleSlot = FREE_SLOTS_FACTOR * share.budget.limit + SPARE_SLOTS
  }

  get takers(): readonly SectionTaker[] {
    const { inodes, files, directories } = this.share
    const free = (table: { restoreFree(slot: number, generation: number): boolean }, most: number) => {
      return (contents: Uint8Array) =>
        FreeSlotRecords.decode(contents, ({ slot, generation }) => {
          mustFit(slot, generation, most)
          if (!table.restoreFree(slot, generation)) throw damaged(`slot ${slot} is free and in use`)
        })
    }
    return [
      { kind: DEVICES, take: (contents) => this.devices(objectOf(contents)) },
      { kind: DEVICE_HANDLES, take: (contents) => this.mounts.verify(objectOf(contents)) },
      { kind: INODES, take: (contents) => this.decoder.decode(contents, (record) => this.inode(record)) },
      { kind: FREE_INODES, take: free(inodes, this.maxInodeSlot) },
      { kind: FILES, take: (contents) => FileRecords.decode(contents, (file) => this.file(file)) },
      { kind: FREE_FILES, take: free(files, this.maxHandleSlot) },
      {
        kind: DIRECTORIES,
        take: (contents) => DirectoryRecords.decode(contents, (dir) => this.directory(dir)),
      },
      { kind: FREE_DIRECTORIES, take: free(directories, this.maxHandleSlot) },
      { kind: LOCKS, take: (contents) => LockRecords.decode(contents, (lock) => this.lock(lock)) },
    ]
  }

  /** The state is whole. Reports what was lost. */
  end(report: (kind: string, fields: object) => void): void {
    const { inodes, files, directories } = this.share
    inodes.restored()
    files.restored()
    directories.restored()
    this.lost.report(report)
    this.close()
  }

  close(): void {
    this.mounts.close()
    this.parents.close()
  }

  /** Without handles the directories on devices are of no use. */
  private devices(paths: Record<string, unknown>): void {
    if (this.migration.mode === 'file-handles') this.mounts.take(paths)
  }

  private inode(record: InodeRecord): void {
    const { inodes } = this.share
    const { slot, generation, lookups } = record
    mustFit(slot, generation, this.maxInodeSlot)
    if (slot === FUSE_ROOT_ID) {
      this.checkRoot(record)
      return
    }
    if (inodes.isKnown(slot)) throw damaged(`inode ${slot} comes twice`)
    if (inodes.count >= this.share.options.inodeLimit)
      throw new StateError(`the guest knows more inodes than --inode-limit ${this.share.options.inodeLimit}`)
    if (record.handle !== undefined && this.restoresAtItsPath(record, record.handle)) return
    const fd = record.isLost ? -ESTALE : this.open(record)
    if (fd >= 0) {
      inodes.restore(slot, generation, lookups, fd, this.st)
      return
    }
    this.st.fill(0)
    this.st[Statx.MODE] = record.type << 12
    inodes.restore(slot, generation, lookups, -1, this.st)
  }

  /** The guest's root is the shared directory, which must be the same one. */
  private checkRoot(record: InodeRecord): void {
    const fd = this.share.inodes.fdOf(FUSE_ROOT_ID)
    native.fstatx(fd, STATX_MASK, this.st)
    if (!this.isSame(fd, record))
      throw new StateError(
        'the shared directory is another one than at the source (--migration-verify-handles)',
      )
  }

  /**
   * Restores an inode that is at its path and can be opened by its handle later. That takes less than half the time of
   * opening it now. Returns false for any other.
   */
  private restoresAtItsPath(record: InodeRecord, handle: Uint8Array): boolean {
    const { st, share } = this
    const { path, type, slot, generation, lookups } = record
    const place = path === undefined ? undefined : this.parents.placeOf(path)
    if (place === undefined) return false
    const { parentFd, parentSt, name } = place
    if (!this.handles.isAt(parentFd, name, 0, handle)) return false
    // A file is on the device of its directory unless something is mounted there: the handle tells the rest.
    if (type !== TYPE_DIRECTORY && this.handles.mountId === statxMountId(parentSt)) {
      if (!share.inodes.canRest(parentSt, handle)) return false
      share.inodes.restoreResting(record, handle, parentSt)
      return true
    }
    if (native.statx(parentFd, name, 0, AT_SYMLINK_NOFOLLOW, STATX_MASK, st) < 0) return false
    if (Statx.mode(st) >>> 12 !== type || !share.inodes.canRest(st, handle)) return false
    share.inodes.restore(slot, generation, lookups, handle, st)
    return true
  }

  /** Opens an inode and fills `st`. Returns a negative errno for one that is lost. */
  private open(record: InodeRecord): number {
    const { path, handle } = record
    if (!this.share.inodes.fds.makeRoom())
      throw new StateError('no descriptor is left for the guest’s inodes')
    if (path !== undefined) {
      const fd = openBelow(this.rootFd, this.share.opener, path, O_PATH)
      if (fd < 0) return this.lose('inodes that are not at their paths any more', record, fd)
      if (native.fstatx(fd, STATX_MASK, this.st) === 0 && this.isSame(fd, record)) return fd
      native.close(fd)
      return this.lose('inodes with another file at their paths', record, -ESTALE)
    }
    // By a handle, the writer of a state could name any file of the host's file system, so the operator must allow it.
    if (handle === undefined || this.migration.mode !== 'file-handles')
      return this.lose('inodes without a name', record, -ESTALE)
    return this.openByHandle(record, handle)
  }

  private openByHandle(record: InodeRecord, handle: Uint8Array): number {
    const { st } = this
    const { device, type, slot, rests } = record
    const fd = this.mounts.open(device, handle)
    if (fd >= 0 && native.fstatx(fd, STATX_MASK, st) === 0 && Statx.mode(st) >>> 12 === type) return fd
    if (fd >= 0) native.close(fd)
    if (fd !== -ESTALE || !rests || !this.mounts.hasLastingHandles(device))
      return this.lose('inodes that cannot be opened by file handle', record, fd < 0 ? fd : -ESTALE)
    // The file is gone, and the source would have found no more. The file system is the source's: see Mounts.
    this.lostSlots.add(slot)
    this.lost.addQuietly('inodes that the source had lost, too', 'removed on the host')
    return fd
  }

  /** Returns true if the file of `fd`, whose attributes are in `st`, is the source's, as far as the state tells. */
  private isSame(fd: number, { type, handle, inoLow, inoHigh }: InodeRecord): boolean {
    const { st } = this
    if (Statx.mode(st) >>> 12 !== type) return false
    if (handle === undefined) return true
    const here = FileHandles.of(fd)
    if (here === undefined) return Statx.inoLow(st) === inoLow && Statx.inoHigh(st) === inoHigh
    return here.length === handle.length && here.every((byte, n) => byte === handle[n])
  }

  private lose(kind: LostKind, record: InodeRecord, error: number): number {
    // An inode without a name that is not open is known to the guest's cache alone.
    if (kind === 'inodes without a name' && !record.isOpen) {
      this.lost.addQuietly(kind, 'not open')
      this.lostSlots.add(record.slot)
    } else {
      this.lost.add(kind, record.path, error)
    }
    return error
  }

  private file(record: FileRecord): void {
    const { files, inodes } = this.share
    mustFit(record.slot, record.generation, this.maxHandleSlot)
    const slot = inodes.slotOf(idOf(record.inodeSlot, record.inodeGeneration))
    const flock = lockTypes.get(record.flock)
    const file = slot === 0 ? -ESTALE : this.fileOpener.reopen(slot, record)
    if (typeof file === 'number') this.lost.add('open files that cannot be opened again', undefined, file)
    const value = typeof file === 'number' ? undefined : file
    if (!files.restore(record.slot, record.generation, value)) {
      value?.release()
      throw damaged(`file ${record.slot} comes twice`)
    }
    // The table may have an object of its own for it.
    const open = value && files.get(idOf(record.slot, record.generation))
    if (open !== undefined && flock !== undefined) this.share.locks.restoreFlock(open, flock)
  }

  private directory(record: DirectoryRecord): void {
    const { directories, inodes, budget, procFd } = this.share
    mustFit(record.slot, record.generation, this.maxHandleSlot)
    const nodeid = idOf(record.inodeSlot, record.inodeGeneration)
    const slot = inodes.slotOf(nodeid)
    const isDirectory = slot !== 0 && inodes.typeOf(slot) === TYPE_DIRECTORY
    const pathFd = isDirectory && inodes.fds.makeRoom() ? inodes.fdOf(slot) : -ESTALE
    const fd = pathFd < 0 ? pathFd : native.inodeOpen(procFd, pathFd, O_RDONLY | O_DIRECTORY)
    const kind = 'open directories that cannot be opened again'
    if (fd < 0 && this.lostSlots.has(slot)) this.lost.addQuietly(kind, 'no path')
    else if (fd < 0) this.lost.add(kind, undefined, fd)
    const value = fd < 0 ? undefined : new OpenDirectory(fd, budget, nodeid)
    if (!directories.restore(record.slot, record.generation, value)) {
      value?.release()
      throw damaged(`directory ${record.slot} comes twice`)
    }
    // The guest names its position with each request; this one saves a first seek.
    if (value !== undefined && native.seekDirectory(fd, record.atLow, record.atHigh) >= 0) {
      value.atLow = record.atLow
      value.atHigh = record.atHigh
    }
  }

  private lock(record: LockRecord): void {
    const { files, locks } = this.share
    const file = files.get(idOf(record.fileSlot, record.fileGeneration))
    const { startByte, lastByte, ownerLow, ownerHigh, pid } = record
    const type = record.isWrite ? F_WRLCK : F_RDLCK
    const result =
      file === undefined
        ? -ESTALE
        : locks.restoreRange({ file, type, startByte, lastByte, ownerLow, ownerHigh, pid })
    if (result < 0) this.lost.add('locks that cannot be taken again', undefined, result)
  }
}

/** Throws StateError for a slot that no share of this size has, or an impossible generation. */
function mustFit(slot: number, generation: number, maxSlot: number): void {
  if (generation > MAX_GENERATION || slot === 0) throw damaged(`slot ${slot} or its generation is impossible`)
  if (slot > maxSlot) throw new StateError(`slot ${slot} is more than the limits of this share allow`)
}
