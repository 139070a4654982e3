import { performance } from 'node:perf_hooks'
import { generationOfId, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { HandleLife, type HostFileSystems } from '../inodes/host-file-system.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { STATX_MASK, statxChanges, statxHasWholeSeconds, statxYoungestMs } from '../inodes/statx.js'
import { KnownNames } from './known-names.js'

/** Names read, or directories looked at, before everything else has its turn: some 80 microseconds. */
const NAMES_PER_STEP = 32
/**
 * A change of a directory leaves no trace if the time of one before is the same: the host's clock for files ticks every few
 * milliseconds. Some file systems count whole seconds.
 */
const SETTLED_MS = 100
const SETTLED_SECONDS_MS = 2500
/** Directories that have changed lately are looked at again this often. */
const AGAIN_MS = 500
/** About three million names. */
const MAX_BYTES = 64 * 1024 * 1024
const FIRST_BYTES = 64 * 1024

/** u32 slot, u32 generation, u8 bytes of the name. */
const ENTRY_BYTES = 9
const NAME_MAX_BYTES = 255

/** The parts of the share that are read. */
interface Share {
  readonly inodes: InodeTable
  readonly hosts: HostFileSystems
  readonly procFd: number
}

/** A directory, and the names of inodes that the guest knew in it. */
interface Directory {
  readonly slot: number
  readonly generation: number
  /** Times of its last change before it was read. */
  readonly changes: Int32Array
  readonly entries: Uint8Array
  /** It has names of other files, which the guest may have looked up since. */
  readonly hasStrangers: boolean
}

/** The names in a directory that has not changed since they were read. */
export interface UnchangedDirectory {
  readonly slot: number
  readonly path: Uint8Array
  readonly hasStrangers: boolean
  readonly entries: Uint8Array
}

/**
 * The names of the guest's inodes, read while the guest still runs, in small steps. Afterwards only directories that have
 * changed meanwhile must be read: a directory whose times are the same has the same names. Its path is not kept, since a
 * directory above may be renamed.
 */
export class PreparedNames {
  private readonly directories: Directory[] = []
  private bytes = 0
  private steps: Generator<void> | undefined
  /** The time of the next step, of `performance.now()`. */
  private dueMs = 0
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly entries = new Entries()

  constructor(
    private readonly share: Share,
    private readonly maxBytes = MAX_BYTES,
  ) {}

  /** Begins to read. What was read before is dropped. */
  begin(): void {
    this.drop()
    this.steps = this.read()
    this.dueMs = 0
  }

  /** Reads no more, and keeps what was read. */
  end(): void {
    this.steps?.return(undefined)
    this.steps = undefined
  }

  drop(): void {
    this.end()
    this.entries.free()
    this.directories.length = 0
    this.bytes = 0
  }

  /** Takes the next step if it is due. */
  progress(): void {
    if (this.steps === undefined || performance.now() < this.dueMs) return
    if (this.steps.next().done === true) this.steps = undefined
  }

  /** Milliseconds until the next step, or -1 for never. */
  nextDueMs(): number {
    return this.steps === undefined ? -1 : Math.max(0, this.dueMs - performance.now())
  }

  /** Yields the directories that are as they were when they were read. `pathOf` returns the path of one now. */
  *unchanged(pathOf: (slot: number, fd: number) => Uint8Array | undefined): Generator<UnchangedDirectory> {
    const { inodes } = this.share
    for (const { slot, generation, changes, entries, hasStrangers } of this.directories) {
      const isKnown = inodes.isKnown(slot) && generationOfId(inodes.idOf(slot)) === generation
      const fd = isKnown ? inodes.fdOf(slot) : -1
      if (fd < 0 || native.fstatx(fd, STATX_MASK, this.st) < 0) continue
      if (!statxChanges(this.st).every((word, n) => word === changes[n])) continue
      const path = pathOf(slot, fd)
      if (path !== undefined) yield { slot, path, hasStrangers, entries }
    }
  }

  private *read(): Generator<void> {
    const { inodes } = this.share
    const names = new KnownNames(this.share)
    let unsettled: number[] = []
    let looked = 0
    try {
      for (const slot of inodes.known()) {
        if (++looked % NAMES_PER_STEP === 0) yield
        if (inodes.typeOf(slot) === TYPE_DIRECTORY && (yield* this.readOne(slot, names))) unsettled.push(slot)
      }
      while (unsettled.length > 0) {
        this.dueMs = performance.now() + AGAIN_MS
        yield
        this.dueMs = 0
        const left: number[] = []
        for (const slot of unsettled) {
          if (++looked % NAMES_PER_STEP === 0) yield
          if (inodes.isKnown(slot) && (yield* this.readOne(slot, names))) left.push(slot)
        }
        unsettled = left
      }
    } finally {
      names.close()
    }
  }

  /** Reads one directory. Returns true if it has changed too lately. */
  private *readOne(slot: number, names: KnownNames): Generator<void, boolean> {
    const { inodes, hosts } = this.share
    const { st } = this
    // Others may not tell every change by their times.
    if (hosts.lifeOn(inodes.deviceOf(slot)) !== HandleLife.AsFile || names.isSpent) return false
    const pathFd = inodes.fdOf(slot)
    if (pathFd < 0 || native.fstatx(pathFd, STATX_MASK, st) < 0) return false
    const ageMs = Date.now() - statxYoungestMs(st)
    if (ageMs < (statxHasWholeSeconds(st) ? SETTLED_SECONDS_MS : SETTLED_MS)) return true
    const changes = Int32Array.from(statxChanges(st))
    const generation = generationOfId(inodes.idOf(slot))
    if (!names.open(slot, pathFd)) return false
    const { entries } = this
    entries.clear()
    for (let read = 1; names.next(everyInode); read++) {
      if (names.slot !== 0) entries.add(names.slot, generationOfId(inodes.idOf(names.slot)), names)
      if (read % NAMES_PER_STEP === 0) yield
      if (names.isSpent || this.bytes + entries.lenBytes > this.maxBytes) return false
    }
    this.bytes += entries.lenBytes
    const hasStrangers = names.strangers > 0
    this.directories.push({ slot, generation, changes, entries: entries.take(), hasStrangers })
    return false
  }
}

const everyInode = () => true

const NOTHING = new Uint8Array(0)

/** The names of one directory. */
class Entries {
  lenBytes = 0
  private bytes = NOTHING

  clear(): void {
    this.lenBytes = 0
  }

  free(): void {
    this.bytes = NOTHING
  }

  add(slot: number, generation: number, { bytes: names, nameAt, nameBytes }: KnownNames): void {
    if (this.lenBytes + ENTRY_BYTES + NAME_MAX_BYTES > this.bytes.length) {
      const larger = new Uint8Array(Math.max(FIRST_BYTES, 2 * this.bytes.length))
      larger.set(this.bytes)
      this.bytes = larger
    }
    const { bytes } = this
    writeU32(bytes, this.lenBytes, slot)
    writeU32(bytes, this.lenBytes + 4, generation)
    bytes[this.lenBytes + 8] = nameBytes
    const at = this.lenBytes + ENTRY_BYTES
    for (let n = 0; n < nameBytes; n++) bytes[at + n] = names[nameAt + n]
    this.lenBytes = at + nameBytes
  }

  /** Returns a copy in no more memory than they need. */
  take(): Uint8Array {
    return this.bytes.slice(0, this.lenBytes)
  }
}

/** Reads the entry at `at` of a directory's entries. */
export const Entry = Object.freeze({
  slot: (bytes: Uint8Array, at: number) => readU32(bytes, at),
  generation: (bytes: Uint8Array, at: number) => readU32(bytes, at + 4),
  nameAt: (at: number) => at + ENTRY_BYTES,
  nameBytes: (bytes: Uint8Array, at: number) => bytes[at + 8],
  endAt: (bytes: Uint8Array, at: number) => at + ENTRY_BYTES + bytes[at + 8],
})

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  for (let n = 0; n < 4; n++) bytes[at + n] = value >>> (8 * n)
}

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0
}
