import { generationOfId, slotOfId } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import {
  DIRECTORIES,
  DirectoryRecords,
  FILES,
  FileRecords,
  Flock,
  FREE_DIRECTORIES,
  FREE_FILES,
  type FreeSlot,
  FreeSlotRecords,
  LOCKS,
  LockRecords,
} from '../../state/handle-records.js'
import { blankInode, FREE_INODES, INODES, InodeEncoder, PATH_MAX_BYTES } from '../../state/inode-records.js'
import { type Records, recordSection, textSection } from '../../state/sections.js'
import type { Handles } from '../files/handles.js'
import type { OpenDirectory } from '../files/open-directory.js'
import { NO_FD, type OpenFile } from '../files/open-file.js'
import { FileHandles } from '../inodes/file-handles.js'
import { HandleLife } from '../inodes/host-file-system.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import type { LockOperations } from '../locks/locks.js'
import type { NameOpener } from '../names/name-opener.js'
import { InodePlaces } from './inode-places.js'
import { listedNames } from './listed-names.js'
import { DEVICE_HANDLES, DEVICES } from './mounts.js'
import type { MigrationOptions } from './options.js'
import type { PreparedNames } from './prepared-names.js'
import { preparedRecords } from './prepared-records.js'
import { search } from './search.js'
import { SlotSet } from './slot-set.js'

const { F_RDLCK, F_WRLCK } = native.constants

/** Inodes written before everything else has its turn. */
const INODES_PER_PIECE = 64

/** The parts of the share that move. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly directories: Handles<OpenDirectory>
  readonly locks: LockOperations
  readonly opener: NameOpener
  readonly procFd: number
  readonly prepared: PreparedNames
}

/** Yields the sections of a share's inodes, handles and locks. The share stays as it is. */
export class SavedState {
  private readonly places: InodePlaces
  private readonly encoder = new InodeEncoder()
  private readonly record = blankInode()

  constructor(
    private readonly share: Share,
    private readonly rootFd: number,
    private readonly options: MigrationOptions,
  ) {
    this.places = new InodePlaces(share, rootFd, options.confirmPaths)
  }

  *sections(): Generator<Iterable<Uint8Array>> {
    const { inodes, files, directories, locks } = this.share
    if (this.options.mode === 'file-handles') {
      const devices = this.devices()
      yield textSection(DEVICES, devices.paths)
      yield textSection(DEVICE_HANDLES, devices.handles)
    }
    yield recordSection(INODES, this.inodes())
    yield recordSection(FREE_INODES, freeRecords(inodes.freeSlots()))
    yield recordSection(FILES, fileRecords(files))
    yield recordSection(FREE_FILES, freeRecords(files.freeSlots()))
    yield recordSection(DIRECTORIES, directoryRecords(directories))
    yield recordSection(FREE_DIRECTORIES, freeRecords(directories.freeSlots()))
    yield recordSection(LOCKS, lockRecords(files, locks))
  }

  private *inodes(): Records {
    const { inodes } = this.share
    const written = new SlotSet(inodes.slotsEnd)
    if (this.options.mode === 'find-paths' && !this.options.confirmPaths) {
      const { share, places, encoder } = this
      const done = new Set<number>()
      yield* preparedRecords(share, { places, encoder, written, done })
      yield* this.listed(written, done)
    }
    const nameless = new Map<string, number[]>()
    let count = 0
    for (const slot of inodes.known()) {
      if (written.has(slot)) continue
      if (++count % INODES_PER_PIECE === 0) yield undefined
      const { record } = this
      if (this.describe(slot)) yield this.encoder.encode(record)
      else add(nameless, keyOf(record.inoLow, record.inoHigh), slot)
    }
    if (nameless.size > 0) yield* this.searched(nameless)
  }

  /** Writes the inodes that are found in the guest's directories but those that are `done`, and notes them. */
  private *listed(written: SlotSet, done: ReadonlySet<number>): Records {
    const { share, record, options } = this
    const found = listedNames(share, {
      directory: (slot) => !done.has(slot),
      // A hard link shows more than once.
      inode: (slot) => !written.has(slot),
      pathOf: (slot, fd) => this.places.pathOf(slot, fd, true),
    })
    for (const name of found) {
      if (name === undefined) {
        yield undefined
        continue
      }
      // Its own path is asked for, and will be none.
      if (name.path.length >= PATH_MAX_BYTES) continue
      written.add(name.slot)
      this.identify(name.slot)
      record.path = name.path
      record.handle = options.verifyHandles ? name.handle : undefined
      yield this.encoder.encode(record)
    }
  }

  /**
   * Writes the inodes whose names the kernel did not tell, after a walk through the whole share. They come by inode number,
   * which several file systems may have.
   */
  private *searched(nameless: Map<string, number[]>): Records {
    const found = search(this.rootFd, this.share.opener, (low, high) => nameless.has(keyOf(low, high)))
    for (const name of found) {
      if (name === undefined) {
        yield undefined
        continue
      }
      const key = keyOf(name.inoLow, name.inoHigh)
      const slots = nameless.get(key) ?? []
      const slot = slots.find((each) => this.isAt(name.path, each))
      if (slot === undefined) continue
      if (slots.length === 1) nameless.delete(key)
      else slots.splice(slots.indexOf(slot), 1)
      this.describe(slot)
      this.record.path = name.path
      yield this.encoder.encode(this.record)
      if (nameless.size === 0) break
    }
    for (const slot of [...nameless.values()].flat()) {
      this.describe(slot)
      yield this.encoder.encode(this.record)
    }
  }

  private isAt(path: Uint8Array, slot: number): boolean {
    const fd = this.share.inodes.fdOf(slot)
    return fd >= 0 && this.places.isAt(path, fd)
  }

  /** Fills what the table of inodes tells of a slot into its record. */
  private identify(slot: number): void {
    const { record } = this
    const { inodes } = this.share
    inodes.identify(slot, record)
    record.isOpen = inodes.fds.isPinned(slot)
    record.isLost = false
    record.rests = false
    record.path = undefined
    record.handle = undefined
  }

  /** Fills the record of a slot. Returns false if a search might find its name. */
  private describe(slot: number): boolean {
    this.identify(slot)
    const { record, options } = this
    const { inodes } = this.share
    const byHandle = options.mode === 'file-handles'
    // A handle that may be dead already is of no use to the destination.
    const mayRest = byHandle && inodes.fds.handleLifeOf(slot) !== HandleLife.AsCache
    record.handle = mayRest ? inodes.fds.keptHandle(slot) : undefined
    record.rests = record.handle !== undefined
    if (record.rests) return true
    const wasOpen = inodes.fds.isOpen(slot)
    const fd = inodes.fdOf(slot)
    if (fd < 0) {
      record.isLost = true
      return true
    }
    if (byHandle || options.verifyHandles) record.handle = FileHandles.of(fd)
    if (byHandle && record.handle !== undefined) return true
    record.path = this.places.pathOf(slot, fd, wasOpen)
    return record.path !== undefined || this.places.isUnlinked(fd)
  }

  /** The path and the handle of a directory on each device, by which the destination opens file handles there. */
  private devices() {
    const { inodes } = this.share
    const paths: Record<string, string> = {}
    const handles: Record<string, string> = {}
    for (const slot of inodes.known()) {
      const device = inodes.deviceOf(slot)
      if (paths[device] !== undefined || inodes.typeOf(slot) !== TYPE_DIRECTORY) continue
      const wasOpen = inodes.fds.isOpen(slot)
      const fd = inodes.fdOf(slot)
      const path = fd < 0 ? undefined : this.places.pathOf(slot, fd, wasOpen)
      if (path === undefined) continue
      paths[device] = Buffer.from(path).toString('base64')
      handles[device] = Buffer.from(FileHandles.of(fd) ?? []).toString('base64')
    }
    return { paths, handles }
  }
}

/** The records of open files. `each` is called with every file, in the same order. */
export function* fileRecords(files: Handles<OpenFile>, each: (file: OpenFile) => void = () => {}): Records {
  for (const [handle, file] of files.entries()) {
    each(file)
    yield FileRecords.encode({
      slot: slotOfId(handle),
      generation: generationOfId(handle),
      inodeSlot: slotOfId(file.nodeid),
      inodeGeneration: generationOfId(file.nodeid),
      hostFlags: native.statusFlags(file.fd),
      openFlags: file.openFlags,
      hasDirect: file.directFd !== NO_FD,
      isWritable: file.isWritable,
      isAppendOnly: file.isAppendOnly,
      writesPages: file.writesPages,
      flock: file.flock === F_WRLCK ? Flock.exclusive : file.flock === F_RDLCK ? Flock.shared : Flock.none,
    })
  }
}

/** The records of open directories. `each` is called with every directory, in the same order. */
export function* directoryRecords(
  directories: Handles<OpenDirectory>,
  each: (directory: OpenDirectory) => void = () => {},
): Records {
  for (const [handle, directory] of directories.entries()) {
    const { nodeid, atLow, atHigh } = directory
    const isAhead = directory.left.length > 0
    each(directory)
    yield DirectoryRecords.encode({
      slot: slotOfId(handle),
      generation: generationOfId(handle),
      inodeSlot: slotOfId(nodeid),
      inodeGeneration: generationOfId(nodeid),
      atLow: isAhead ? directory.leftLow : atLow,
      atHigh: isAhead ? directory.leftHigh : atHigh,
    })
  }
}

/** The handle of each open file. */
export function handlesOf(files: Handles<OpenFile>): ReadonlyMap<OpenFile, number> {
  const handles = new Map<OpenFile, number>()
  for (const [handle, file] of files.entries()) handles.set(file, handle)
  return handles
}

/** The records of record locks. */
export function* lockRecords(files: Handles<OpenFile>, locks: LockOperations): Records {
  const handles = handlesOf(files)
  for (const range of locks.held()) {
    const handle = handles.get(range.file)
    if (handle === undefined) continue
    yield LockRecords.encode({
      fileSlot: slotOfId(handle),
      fileGeneration: generationOfId(handle),
      isWrite: range.type === F_WRLCK,
      ownerLow: range.ownerLow,
      ownerHigh: range.ownerHigh,
      pid: range.pid,
      startByte: range.startByte,
      lastByte: range.lastByte,
    })
  }
}

function keyOf(inoLow: number, inoHigh: number): string {
  return `${inoHigh}:${inoLow}`
}

function add(lists: Map<string, number[]>, key: string, slot: number): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [slot])
  else list.push(slot)
}

export function* freeRecords(slots: Iterable<FreeSlot>): Records {
  for (const free of slots) if (free.generation > 0) yield FreeSlotRecords.encode(free)
}
