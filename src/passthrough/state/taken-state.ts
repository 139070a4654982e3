import { StateError } from 'vhost-user-ts'
import { FUSE_ROOT_ID, idOf, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { damaged } from '../../state/blocks.js'
import {
  CARRIERS,
  type Carrier,
  type CarrierRecord,
  CarrierRecords,
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
import { PLACES, type PlaceRecord, PlaceRecords } from '../../state/place-records.js'
import { objectOf, type SectionTaker } from '../../state/sections.js'
import type { FileOpener } from '../files/file-opener.js'
import type { Handles } from '../files/handles.js'
import { NOWHERE } from '../files/leftovers.js'
import { OpenDirectory } from '../files/open-directory.js'
import { NO_FD, OpenFile } from '../files/open-file.js'
import type { FdBudget } from '../inodes/fd-budget.js'
import { hostFileSystemAt } from '../inodes/host-file-system.js'
import type { HostPaths } from '../inodes/host-paths.js'
import type { InodeTable } from '../inodes/inode-table.js'
import { STATX_MASK, statxIsSame } from '../inodes/statx.js'
import type { LockOperations } from '../locks/locks.js'
import type { HandedQuota, QuotaOperations } from '../quota/quota-operations.js'
import { HANDED_DEVICES, HANDED_QUOTA } from './handed-state.js'

const { F_RDLCK, F_WRLCK } = native.constants

/** The use of a descriptor that the guest has closed, and that its locks still need. */
const CARRIES_LOCKS = { openFlags: 0, isWritable: false, isAppendOnly: false, writesPages: false }

/** The parts of the share that are filled. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly directories: Handles<OpenDirectory>
  readonly locks: LockOperations
  readonly paths: HostPaths
  readonly budget: FdBudget
  readonly options: { readonly inodeLimit: number }
}

/**
 * Fills a share that has only its root from what another process of this host hands over, descriptors included. Nothing that
 * both processes share is changed, so that the other one can still go on. Its methods throw StateError.
 */
export class TakenState {
  private readonly decoder = new InodeDecoder()

  constructor(
    private readonly share: Share,
    private readonly fileOpener: FileOpener,
    private readonly rootFd: number,
    private readonly quota: QuotaOperations | undefined,
    private readonly takeFd: () => number,
  ) {}

  /**
   * Takes the other process's descriptor of the shared directory in place of the own one: what lies below is found through
   * the same mounts then. Call it before the session begins.
   */
  takeRoot(): void {
    const [own, theirs] = [new Int32Array(Statx.WORDS), new Int32Array(Statx.WORDS)]
    const fd = this.takeFd()
    const result = native.fstatx(this.rootFd, STATX_MASK, own) || native.fstatx(fd, STATX_MASK, theirs)
    const isSame = result === 0 && statxIsSame(own, theirs)
    const taken = isSame ? native.dupTo(fd, this.rootFd) : 0
    native.close(fd)
    if (!isSame) throw new StateError('the shared directory is another one')
    if (taken < 0) throw new StateError(`the shared directory cannot be taken over: errno ${-taken}`)
    this.share.paths.findRoot()
  }

  get takers(): readonly SectionTaker[] {
    const { inodes, files, directories } = this.share
    const free = (table: { restoreFree(slot: number, generation: number): boolean }) => {
      return (contents: Uint8Array) =>
        FreeSlotRecords.decode(contents, ({ slot, generation }) => {
          if (!table.restoreFree(slot, generation)) throw damaged(`slot ${slot} is free and in use`)
        })
    }
    return [
      { kind: HANDED_DEVICES, take: (contents) => this.devices(objectOf(contents)) },
      { kind: INODES, take: (contents) => this.decoder.decode(contents, (record) => this.inode(record)) },
      { kind: PLACES, take: (contents) => PlaceRecords.decode(contents, (place) => this.place(place)) },
      { kind: FREE_INODES, take: free(inodes) },
      { kind: FILES, take: (contents) => FileRecords.decode(contents, (file) => this.file(file)) },
      { kind: FREE_FILES, take: free(files) },
      {
        kind: DIRECTORIES,
        take: (contents) => DirectoryRecords.decode(contents, (dir) => this.directory(dir)),
      },
      { kind: FREE_DIRECTORIES, take: free(directories) },
      {
        kind: CARRIERS,
        take: (contents) => CarrierRecords.decode(contents, (record) => this.carrier(record)),
      },
      { kind: LOCKS, take: (contents) => LockRecords.decode(contents, (lock) => this.lock(lock)) },
      // The program that wrote this runs beside us, and is ours or the version before.
      {
        kind: HANDED_QUOTA,
        take: (contents) => this.quota?.adopt(objectOf(contents) as unknown as HandedQuota),
      },
    ]
  }

  /** The state is whole. Call it with and without a session, before `end`. */
  mustBeCounted(): void {
    if (this.quota?.isCounted === false) throw damaged('it does not say what the share holds')
  }

  /** The state of a session is whole. */
  end(): void {
    const { inodes, files, directories } = this.share
    inodes.restored()
    files.restored()
    directories.restored()
  }

  private devices({ devices, mounts, inodes: count, deadHandles = [] }: Record<string, unknown>): void {
    const { inodes, options } = this.share
    if (typeof count === 'number') inodes.expect(Math.min(count, options.inodeLimit))
    // The program that wrote this runs beside us, and is ours or the version before.
    inodes.adoptDevices(devices as readonly (readonly [string, number])[])
    for (const device of mounts as readonly number[]) {
      const fd = this.takeFd()
      const hasDeadHandles = (deadHandles as readonly number[]).includes(device)
      if (!inodes.fds.adoptMount(device, fd, hasDeadHandles)) native.close(fd)
    }
  }

  private inode(record: InodeRecord): void {
    const { inodes, options } = this.share
    const fd = record.hasFd ? this.takeFd() : -1
    if (record.slot === FUSE_ROOT_ID) {
      if (fd >= 0) native.close(fd)
      return
    }
    if (inodes.isKnown(record.slot)) throw damaged(`inode ${record.slot} comes twice`)
    if (inodes.count >= options.inodeLimit)
      throw new StateError(`the guest knows more inodes than --inode-limit ${options.inodeLimit}`)
    if (fd >= 0) this.mustHaveRoom()
    else if (!record.isLost && !inodes.fds.opensHandles)
      throw new StateError('the guest knows inodes by file handles, which this process does not open')
    inodes.adopt(record, fd)
  }

  private place({ slot, name, identity }: PlaceRecord): void {
    const { inodes } = this.share
    if (!inodes.isKnown(slot)) throw damaged(`inode ${slot} has a place and is not known`)
    inodes.fds.places.adopt(slot, { name, identity })
  }

  private file(record: FileRecord): void {
    const { files } = this.share
    const fd = this.takeFd()
    const directFd = record.hasDirect ? this.takeFd() : NO_FD
    this.mustHaveRoom()
    const nodeid = idOf(record.inodeSlot, record.inodeGeneration)
    const file = this.fileOpener.adoptOpen(nodeid, record, fd, directFd)
    if (!files.restore(record.slot, record.generation, file)) throw damaged(`file ${record.slot} comes twice`)
    // The table may have an object of its own for it.
    const open = files.get(idOf(record.slot, record.generation))
    if (open !== undefined && record.flock !== Flock.none)
      open.flock = record.flock === Flock.exclusive ? F_WRLCK : F_RDLCK
  }

  private directory(record: DirectoryRecord): void {
    const { directories, budget } = this.share
    this.mustHaveRoom()
    const nodeid = idOf(record.inodeSlot, record.inodeGeneration)
    const directory = new OpenDirectory(this.takeFd(), budget, nodeid)
    // The descriptor may be ahead of what the guest got, so the next read seeks.
    directory.atLow = NOWHERE
    if (!directories.restore(record.slot, record.generation, directory))
      throw damaged(`directory ${record.slot} comes twice`)
  }

  private carrier({ inodeSlot, inodeGeneration, reader, isOne, writer }: CarrierRecord): void {
    const nodeid = idOf(inodeSlot, inodeGeneration)
    const first = reader && this.carrierOf(nodeid, reader)
    if (isOne) first?.hold()
    const second = isOne ? first : writer && this.carrierOf(nodeid, writer)
    this.share.locks.adoptCarriers({ nodeid, reader: first, writer: second })
  }

  /** Returns an open file with a hold for the locks that it carries. */
  private carrierOf(nodeid: number, { slot, generation }: Carrier): OpenFile {
    const { files, budget } = this.share
    if (slot === 0) {
      this.mustHaveRoom()
      const fd = this.takeFd()
      return new OpenFile(fd, NO_FD, budget, nodeid, hostFileSystemAt(fd), CARRIES_LOCKS)
    }
    const file = files.get(idOf(slot, generation))
    if (file === undefined) throw damaged('a lock is carried by no file')
    file.hold()
    return file
  }

  private lock(record: LockRecord): void {
    const { files, locks } = this.share
    const file = files.get(idOf(record.fileSlot, record.fileGeneration))
    if (file === undefined) throw damaged('a lock is held through no file')
    const { startByte, lastByte, ownerLow, ownerHigh, pid } = record
    const type = record.isWrite ? F_WRLCK : F_RDLCK
    const result = locks.adoptRange({ file, type, startByte, lastByte, ownerLow, ownerHigh, pid })
    if (result < 0) throw new StateError(`a lock cannot be kept (errno ${-result})`)
  }

  private mustHaveRoom(): void {
    if (this.share.budget.left === 0) throw new StateError('the share may open fewer files than it has open')
  }
}
