import { generationOfId, idOf, MAX_GENERATION, slotOfId } from 'virtio-fs-ts/protocol'
import { Epochs, LINE_WORDS } from './epochs.js'
import { SlotPool } from './slot-pool.js'
import { Stripes } from './stripes.js'

/** A row, in words: one half of a cache line. */
const ROW_BITS = 3
/** Word 0 is the generation and, in bit 0, if the guest knows the inode. */
const FD = 1
const INO_LOW = 2
const INO_HIGH = 3
const DEVICE = 4
/** The type, and above it the number of pins. */
const TYPE = 5
const TYPE_MASK = 0xff
const PIN = 0x100
/** The lookups, a double, in words 6 and 7. While the row is free, word 6 is the link of the pool. */
const LOOKUPS = 3
const LINK = 6

const NONE = -1
const ESTALE = 116
const ROOT = 1
const FIRST = 2

/** Slots of other tables, among the values of epochs. */
const OTHER = 2 ** 31

const STRIPE_BITS = 8
const STRIPES = 1 << STRIPE_BITS

/** What the table needs of the host. */
export interface HostFiles {
  close(fd: number): void
  /** Opens the file of a row whose descriptor was closed; the row is locked. Returns a descriptor or a negative errno. */
  reopen(slot: number): number
}

/**
 * The inodes that the guest knows, for several threads. Invariants: docs/queue-threads.md.
 *
 * A row's identity, lookups and place in the index change under the lock of its stripe, which its identity decides. Its
 * first word and its descriptor may be read without. Between `enter` and `leave`, no row that this thread has read is used
 * again, and no descriptor that it has read is closed.
 */
export class SharedInodes {
  private readonly rows: Int32Array
  private readonly lookups: Float64Array
  private readonly index: Int32Array
  private readonly perStripe: number
  protected readonly stripes: Stripes
  private readonly pool: SlotPool
  private readonly epochs: Epochs
  private readonly root: Int32Array
  /** True if the last `add` made a row, and took the descriptor over. */
  added = false
  /** The row of this thread's last lookup in the present batch, and its node id. */
  private countedSlot = 0
  private countedId = 0
  freeOther: (slot: number) => void = () => {}

  /** `memory`: `SharedInodes.bytes(capacity, threads)` of shared memory, zero at first. */
  constructor(
    memory: SharedArrayBuffer,
    capacity: number,
    readonly thread: number,
    threads: number,
    private readonly host: HostFiles,
  ) {
    const parts = layOut(capacity, threads)
    const part = (n: number): Int32Array =>
      new Int32Array(
        memory,
        4 * parts[n]!,
        (n + 1 < parts.length ? parts[n + 1]! : memory.byteLength / 4) - parts[n]!,
      )
    this.root = part(0)
    this.epochs = new Epochs(part(1), thread, threads, (value) => {
      if (value >= OTHER) this.freeOther(value - OTHER)
      else if (value >= 0) this.pool.give(value)
      else host.close(~value)
    })
    this.stripes = new Stripes(part(2))
    this.index = part(4)
    this.perStripe = this.index.length / STRIPES
    this.rows = part(5)
    this.lookups = new Float64Array(memory, 4 * parts[5]!, this.rows.length / 2)
    this.pool = new SlotPool(part(3), this.rows.subarray(LINK), 1 << ROW_BITS, FIRST, capacity)
  }

  static bytes(capacity: number, threads: number): number {
    return 4 * layOut(capacity, threads)[6]!
  }

  /** Opens a batch. Nothing that is read before the next `leave` is freed. */
  enter(): void {
    if (this.epochs.enter()) this.countedSlot = 0
  }

  leave(): void {
    this.epochs.leave()
  }

  /** The slot of a node id, or 0 if the guest invented or has forgotten it. */
  slotOf(nodeid: number): number {
    const slot = slotOfId(nodeid)
    const word = Atomics.load(this.rows, slot << ROW_BITS)
    return word === ((generationOfId(nodeid) << 1) | 1) ? slot : 0
  }

  /**
   * Returns the node id of a row that this thread has read. For the row of the last lookup it is the id that was counted: the
   * guest may have forgotten that already.
   */
  idOf(slot: number): number {
    return slot === this.countedSlot
      ? this.countedId
      : idOf(slot, Atomics.load(this.rows, slot << ROW_BITS) >>> 1)
  }

  isKnown(slot: number): boolean {
    return (Atomics.load(this.rows, slot << ROW_BITS) & 1) === 1
  }

  /** Returns the descriptor, and opens the file again if it was closed. */
  fdOf(slot: number): number {
    const fd = Atomics.load(this.rows, (slot << ROW_BITS) + FD)
    return fd >= 0 ? fd : this.open(slot)
  }

  typeOf(slot: number): number {
    return this.rows[(slot << ROW_BITS) + TYPE]! & TYPE_MASK
  }

  /** Open files of the inode: its descriptor is not closed while there are any. */
  pin(slot: number): void {
    Atomics.add(this.rows, (slot << ROW_BITS) + TYPE, PIN)
  }

  unpin(slot: number): void {
    Atomics.sub(this.rows, (slot << ROW_BITS) + TYPE, PIN)
  }

  deviceOf(slot: number): number {
    return this.rows[(slot << ROW_BITS) + DEVICE]!
  }

  inoLowOf(slot: number): number {
    return this.rows[(slot << ROW_BITS) + INO_LOW]!
  }

  inoHighOf(slot: number): number {
    return this.rows[(slot << ROW_BITS) + INO_HIGH]!
  }

  lookupsOf(slot: number): number {
    return this.isKnown(slot) ? this.lookups[(slot << (ROW_BITS - 1)) + LOOKUPS]! : 0
  }

  /** Makes the root, which stays, if no thread has made it. */
  addRoot(device: number, inoLow: number, inoHigh: number, type: number, fd: number): number {
    if (Atomics.compareExchange(this.root, 0, 0, 1) !== 0) {
      while (!this.isKnown(ROOT)) Atomics.wait(this.root, 0, 1, 1)
      return ROOT
    }
    const h = hash(device, inoLow, inoHigh)
    this.lock(h)
    this.fill(ROOT, device, inoLow, inoHigh, type, fd)
    this.insert(h, ROOT)
    this.unlock(h)
    return ROOT
  }

  /** Returns the slot of an inode and counts a lookup of it, or 0 if the guest does not know it. */
  find(device: number, inoLow: number, inoHigh: number): number {
    const h = hash(device, inoLow, inoHigh)
    this.lock(h)
    const slot = this.index[this.placeOf(h, device, inoLow, inoHigh)]!
    if (slot !== 0) this.count(slot)
    this.unlock(h)
    return slot
  }

  /**
   * The same, and makes a row for an inode that the guest does not know: then `added` is true, and `fd` is taken over.
   * Returns 0 if there is no free row.
   */
  add(device: number, inoLow: number, inoHigh: number, type: number, fd: number): number {
    const h = hash(device, inoLow, inoHigh)
    this.lock(h)
    const at = this.placeOf(h, device, inoLow, inoHigh)
    let slot = this.index[at]!
    this.added = slot === 0
    if (slot !== 0) {
      this.count(slot)
    } else {
      slot = this.pool.take()
      if (slot !== 0) {
        this.fill(slot, device, inoLow, inoHigh, type, fd)
        this.index[at] = slot
        this.remember(slot)
      }
      this.added = slot !== 0
    }
    this.unlock(h)
    return slot
  }

  /** Counts one more lookup of a row that this thread has read. Returns false if the guest has forgotten it meanwhile. */
  ref(slot: number): boolean {
    const h = this.hashOf(slot)
    this.lock(h)
    const known = this.isKnown(slot)
    if (known) this.count(slot)
    this.unlock(h)
    return known
  }

  /** Drops `count` lookups of a row that this thread has read. Without lookups the inode is forgotten. */
  unref(slot: number, count: number): void {
    if (slot === ROOT) return
    const h = this.hashOf(slot)
    const at = (slot << (ROW_BITS - 1)) + LOOKUPS
    this.lock(h)
    if (!this.isKnown(slot)) {
      this.unlock(h)
      return
    }
    const left = this.lookups[at]! - count
    if (left > 0) {
      this.lookups[at] = left
      this.unlock(h)
      return
    }
    const row = slot << ROW_BITS
    const generation = this.rows[row]! >>> 1
    const fd = this.rows[row + FD]!
    this.remove(h, slot)
    Atomics.store(this.rows, row, (generation + 1) << 1)
    Atomics.store(this.rows, row + FD, NONE)
    this.unlock(h)
    if (fd >= 0) this.epochs.retire(~fd)
    if (generation < MAX_GENERATION) this.epochs.retire(slot)
  }

  /** Closes the descriptor of a row that this thread has read. It is opened again when it is needed. */
  evict(slot: number): void {
    const h = this.hashOf(slot)
    this.lock(h)
    const row = slot << ROW_BITS
    const isPinned = Atomics.load(this.rows, row + TYPE) >= PIN
    const fd = isPinned ? NONE : Atomics.exchange(this.rows, row + FD, NONE)
    this.unlock(h)
    if (fd >= 0) this.epochs.retire(~fd)
  }

  /** Closes a descriptor once no thread can be using it. */
  retireFd(fd: number): void {
    this.epochs.retire(~fd)
  }

  /** Has `freeOther(slot)` called once no thread can have read the slot of another table. */
  retireOther(slot: number): void {
    this.epochs.retire(OTHER + slot)
  }

  /** What this thread has not freed yet. */
  get waiting(): number {
    return this.epochs.waiting
  }

  protected lock(h: number): void {
    this.stripes.lock(h >>> (32 - STRIPE_BITS))
  }

  protected unlock(h: number): void {
    this.stripes.unlock(h >>> (32 - STRIPE_BITS))
  }

  /** Counts a lookup of a row whose stripe is locked. */
  private count(slot: number): void {
    this.lookups[(slot << (ROW_BITS - 1)) + LOOKUPS]! += 1
    this.remember(slot)
  }

  private remember(slot: number): void {
    this.countedSlot = slot
    this.countedId = idOf(slot, this.rows[slot << ROW_BITS]! >>> 1)
  }

  private open(slot: number): number {
    const h = this.hashOf(slot)
    const at = (slot << ROW_BITS) + FD
    this.lock(h)
    let fd = this.isKnown(slot) ? this.rows[at]! : -ESTALE
    if (fd === NONE) {
      fd = this.host.reopen(slot)
      if (fd >= 0) Atomics.store(this.rows, at, fd)
    }
    this.unlock(h)
    return fd
  }

  private fill(
    slot: number,
    device: number,
    inoLow: number,
    inoHigh: number,
    type: number,
    fd: number,
  ): void {
    const row = slot << ROW_BITS
    this.rows[row + INO_LOW] = inoLow
    this.rows[row + INO_HIGH] = inoHigh
    this.rows[row + DEVICE] = device
    this.rows[row + TYPE] = type
    this.lookups[(row >> 1) + LOOKUPS] = 1
    Atomics.store(this.rows, row + FD, fd)
    Atomics.store(this.rows, row, this.rows[row]! | 1)
  }

  private hashOf(slot: number): number {
    const row = slot << ROW_BITS
    return hash(this.rows[row + DEVICE]!, this.rows[row + INO_LOW]!, this.rows[row + INO_HIGH]!)
  }

  /** The place of an inode in the index, or the empty one where it belongs. The stripe is locked, and never full. */
  private placeOf(h: number, device: number, inoLow: number, inoHigh: number): number {
    const { index, rows, perStripe } = this
    const base = (h >>> (32 - STRIPE_BITS)) * perStripe
    const mask = perStripe - 1
    for (let at = h & mask; ; at = (at + 1) & mask) {
      const slot = index[base + at]!
      if (slot === 0) return base + at
      const row = slot << ROW_BITS
      if (rows[row + INO_LOW] === inoLow && rows[row + INO_HIGH] === inoHigh && rows[row + DEVICE] === device)
        return base + at
    }
  }

  private insert(h: number, slot: number): void {
    const row = slot << ROW_BITS
    this.index[
      this.placeOf(h, this.rows[row + DEVICE]!, this.rows[row + INO_LOW]!, this.rows[row + INO_HIGH]!)
    ] = slot
  }

  /** Takes a row out of the index, and moves those behind it that the gap would hide. */
  private remove(h: number, slot: number): void {
    const { index, perStripe } = this
    const base = (h >>> (32 - STRIPE_BITS)) * perStripe
    const mask = perStripe - 1
    let hole = h & mask
    while (index[base + hole] !== slot) hole = (hole + 1) & mask
    for (let at = (hole + 1) & mask; index[base + at] !== 0; at = (at + 1) & mask) {
      const home = this.hashOf(index[base + at]!) & mask
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        index[base + hole] = index[base + at]!
        hole = at
      }
    }
    index[base + hole] = 0
  }
}

function hash(device: number, inoLow: number, inoHigh: number): number {
  let h = Math.imul(inoLow, 0x9e3779b1) ^ Math.imul(inoHigh, 0x85ebca6b) ^ Math.imul(device, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39)
  return h ^ (h >>> 15)
}

/** The first word of each part, and the end. A stripe of the index has room for four times its share of the rows. */
function layOut(capacity: number, threads: number): number[] {
  let perStripe = 16
  while (perStripe * STRIPES < 4 * capacity) perStripe *= 2
  const sizes = [
    LINE_WORDS,
    Epochs.wordCount(threads),
    Stripes.wordCount(STRIPES),
    SlotPool.WORDS,
    perStripe * STRIPES,
    capacity << ROW_BITS,
  ]
  const starts = [0]
  for (const size of sizes) starts.push(starts.at(-1)! + size)
  return starts
}
