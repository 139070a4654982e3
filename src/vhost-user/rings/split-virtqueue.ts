import { performance } from 'node:perf_hooks'
import { ProtocolError } from '../errors.js'
import type { QueueLog } from '../memory/dirty-log.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_USED_F_NO_NOTIFY,
} from '../protocol.js'
import { DescriptorChain } from './descriptor-chain.js'
import { availBytes, DESC_BYTES, descBytes, type RingLayout, usedBytes } from './ring-layout.js'

const DESC_WORDS = 4
const MAX_SAFE_HIGH = 0x1fffff
const MAX_CHAIN_BYTES = 0xffffffff
/** The time that an available index may stay impossible. */
const DOUBT_MS = 10
/** An address outside any memory. */
const NOWHERE_GPA = -1
/** The direction of a descriptor without VRING_DESC_F_WRITE. */
const READ = 1

/** The fault of a chain from the driver. */
export type ChainFault =
  | 'descriptor index out of range'
  | 'chain longer than the queue'
  | 'address outside guest memory'
  | 'readable after writable'
  | 'bad indirect table'
  | 'more than 4 GiB in one chain'
  | 'descriptor already in flight'

/**
 * The device's side of a split virtqueue (virtio 1.3, 2.7), with indirect descriptors and event-idx.
 *
 * Rings are volatile and hostile: every field is read once into a local, and bounded before use. A bad chain is never
 * served; its reachable part is kept for an answer. A bad available index breaks the queue until the driver resets
 * it.
 */
export class SplitVirtqueue {
  /** True if the driver put an impossible number into avail.idx: the queue is not read again until it restarts. */
  broken = false
  /** The last impossible index of the driver, and the time it was first seen. */
  private doubtedAt = -1
  private doubtedMs = 0
  /** The fault of the chain that `pop` refused last. */
  fault: ChainFault | undefined
  /**
   * The reachable part of the chain that `pop` refused last: the front of its readable and of its writable bytes. It
   * is in flight until `complete`. Undefined if the driver waits for no answer, or its head is unusable.
   */
  refused: DescriptorChain | undefined
  /** The number of requests popped and not yet completed. */
  inFlightCount = 0
  /** Called when a pending request is completed: the driver may want a signal. */
  onLateCompletion: (() => void) | undefined
  /** Marks what this queue writes, while the front-end migrates the guest. */
  dirtyLog: QueueLog | undefined

  private readonly size: number
  private readonly mask: number
  private readonly buffers: ReadonlyArray<readonly [number, ArrayBuffer]>
  private readonly desc: Int32Array
  private readonly avail: Uint16Array
  private readonly used: Uint16Array
  private readonly usedElements: Int32Array
  private readonly usedEventAt: number
  private readonly availEventAt: number
  private readonly inFlight: Uint8Array
  /** Every chain object of this queue, and the free ones among them. */
  private readonly chains = new Set<DescriptorChain>()
  private readonly pool: DescriptorChain[] = []
  private readonly indirect: Int32Array
  private readonly indirectBytes: Uint8Array
  private readonly tableSegment: DescriptorChain
  private nextAvail: number
  private nextUsed: number
  private signalledUsed: number
  private signalledOnce = false
  /** True if the last walk met no writable descriptor, nor an unreachable one: nobody waits for a reply. */
  private wantsNoReply = false

  /**
   * Opens the rings. `nextAvail` is the index at which the last owner stopped; the used index is read from guest
   * memory. Throws ProtocolError BAD_RING if a ring is not wholly inside one region, or not aligned (virtio 1.3, 2.7:
   * 16, 2 and 4 bytes).
   */
  constructor(
    readonly memory: GuestMemory,
    readonly layout: RingLayout,
    private readonly eventIdx: boolean,
    private readonly allowIndirect: boolean,
    nextAvail: number,
  ) {
    const { size, descGpa, availGpa, usedGpa } = layout
    this.size = size
    this.mask = size - 1
    this.buffers = openRings(memory, [
      { name: 'descriptor table', gpa: descGpa, lenBytes: descBytes(size), alignment: 16 },
      { name: 'available ring', gpa: availGpa, lenBytes: availBytes(size), alignment: 2 },
      { name: 'used ring', gpa: usedGpa, lenBytes: usedBytes(size), alignment: 4 },
    ])
    const [[, desc], [, avail], [, used]] = this.buffers
    this.desc = new Int32Array(desc)
    this.avail = new Uint16Array(avail)
    this.used = new Uint16Array(used)
    this.usedElements = new Int32Array(used, 4, 2 * size)
    this.usedEventAt = 2 + size
    this.availEventAt = 2 + 4 * size
    this.inFlight = new Uint8Array(size)
    this.indirect = new Int32Array(size * DESC_WORDS)
    this.indirectBytes = new Uint8Array(this.indirect.buffer)
    this.tableSegment = new DescriptorChain(this, memory, new Float64Array(2))
    // Marks the chain open, so that it can be read.
    this.tableSegment.head = 0
    this.nextAvail = nextAvail
    this.nextUsed = Atomics.load(this.used, 1)
    this.signalledUsed = this.nextUsed
  }

  /** Guest address of avail.idx, which a spin watches. */
  get availIdxGpa(): number {
    return this.layout.availGpa + 2
  }

  /** The index of the next request; the answer to GET_VRING_BASE. */
  get lastAvail(): number {
    return this.nextAvail
  }

  /** The requests popped and not yet given back. */
  get inFlightChains(): DescriptorChain[] {
    return [...this.chains].filter((chain) => chain.isOpen)
  }

  /** The heads of the requests popped and not yet given back. */
  get inFlightHeads(): number[] {
    return this.inFlightChains.map(({ head }) => head)
  }

  /** Gives up the requests in flight, and drops the views on the rings. */
  close(): void {
    for (const chain of this.chains) {
      if (chain.isOpen) this.dirtyLog?.wrote(chain)
      chain.close()
    }
    this.inFlightCount = 0
    this.onLateCompletion = undefined
    for (const [gpa, buffer] of this.buffers) if (buffer.byteLength > 0) this.memory.closeRing(gpa, buffer)
  }

  /**
   * Returns the number of waiting requests; reads avail.idx once. Returns -1 and sets `broken` if the driver's index
   * is impossible and stays so.
   */
  available(): number {
    if (this.broken) return 0
    const waiting = (Atomics.load(this.avail, 1) - this.nextAvail) & 0xffff
    return waiting <= this.size ? waiting : this.doubt()
  }

  /** The number of waiting requests, for reports; 0 for an impossible index. */
  get waitingCount(): number {
    const waiting = (Atomics.load(this.avail, 1) - this.nextAvail) & 0xffff
    return waiting <= this.size ? waiting : 0
  }

  /**
   * Handles an impossible index. A driver may store the index byte by byte, so only one that stays impossible breaks
   * the queue.
   */
  private doubt(): 0 | -1 {
    const nowMs = performance.now()
    if (this.doubtedAt !== this.nextAvail) {
      this.doubtedAt = this.nextAvail
      this.doubtedMs = nowMs
    }
    if (nowMs - this.doubtedMs < DOUBT_MS) return 0
    this.broken = true
    return -1
  }

  /**
   * Takes the next request. Call it only if `available` returned one. Returns undefined for a bad chain: `fault` says
   * why, and `refused` may be answered. A bad chain without writable bytes is completed here.
   */
  pop(): DescriptorChain | undefined {
    const head = this.avail[2 + (this.nextAvail & this.mask)]
    this.nextAvail = (this.nextAvail + 1) & 0xffff
    return this.take(head)
  }

  /** Takes a request whose head is known: `pop` has taken it from the ring before, here or in another process. */
  take(head: number): DescriptorChain | undefined {
    if (head >= this.size) return this.refuse('descriptor index out of range')
    if (this.inFlight[head] !== 0) return this.refuse('descriptor already in flight')
    const chain = this.pool.pop() ?? this.addChain()
    const fault = this.walk(chain, head)
    chain.head = head
    this.inFlight[head] = 1
    this.inFlightCount++
    return fault === undefined ? chain : this.refuse(fault, chain)
  }

  /** Completes a request: the driver may read its first `writtenBytes` writable bytes. The chain object is reused. */
  complete(chain: DescriptorChain, writtenBytes: number): void {
    const { head } = chain
    this.inFlight[head] = 0
    this.inFlightCount--
    this.push(head, writtenBytes)
    if (this.dirtyLog !== undefined) this.dirtyLog.wrote(chain)
    chain.head = -1
    chain.controller = undefined
    this.pool.push(chain)
  }

  /**
   * Never completes a request, since its driver must not read the buffer as a reply. Its descriptors stay in flight.
   */
  giveUp(chain: DescriptorChain): void {
    this.inFlightCount--
    this.dirtyLog?.wrote(chain)
    chain.close()
    this.pool.push(chain)
  }

  /**
   * Like `complete`, for a chain that other code may still hold: the object stays closed, and a new one replaces it.
   */
  retire(chain: DescriptorChain, writtenBytes: number): void {
    const { segments } = chain
    this.complete(chain, writtenBytes)
    const successor = new DescriptorChain(this, this.memory, segments)
    this.chains.delete(chain)
    this.chains.add(successor)
    this.pool[this.pool.length - 1] = successor
    chain.close()
  }

  /**
   * Returns true if the driver wants a signal for the requests completed since this last returned true (virtio 1.3,
   * 2.7.7.2). The earlier store of used.idx is sequentially consistent: it is visible before used_event is read.
   */
  shouldSignal(): boolean {
    const { nextUsed } = this
    const fresh = (nextUsed - this.signalledUsed) & 0xffff
    if (fresh === 0) return false
    this.signalledUsed = nextUsed
    if (!this.eventIdx) return (Atomics.load(this.avail, 0) & VRING_AVAIL_F_NO_INTERRUPT) === 0
    const usedEvent = Atomics.load(this.avail, this.usedEventAt)
    // The first signal is always sent: the driver may have set used_event before this device took over the queue.
    if (!this.signalledOnce) {
      this.signalledOnce = true
      return true
    }
    return ((nextUsed - usedEvent - 1) & 0xffff) < fresh
  }

  /**
   * Asks the driver for a kick with the next request. Returns true if one came before the driver could know: look
   * again.
   */
  armKick(): boolean {
    if (this.broken) return false
    if (this.eventIdx) Atomics.store(this.used, this.availEventAt, this.nextAvail)
    else Atomics.store(this.used, 0, 0)
    if (this.dirtyLog !== undefined) this.dirtyLog.wroteRing()
    return Atomics.load(this.avail, 1) !== this.nextAvail
  }

  /** Tells the driver that no kick is needed while the device polls the ring. */
  disarmKick(): void {
    // With event-idx, an avail_event left behind has the same effect without a store.
    if (this.eventIdx || this.broken) return
    Atomics.store(this.used, 0, VRING_USED_F_NO_NOTIFY)
    if (this.dirtyLog !== undefined) this.dirtyLog.wroteRing()
  }

  private addChain(): DescriptorChain {
    const chain = new DescriptorChain(this, this.memory, new Float64Array(2 * this.size))
    this.chains.add(chain)
    return chain
  }

  private refuse(fault: ChainFault, chain?: DescriptorChain): undefined {
    this.fault = fault
    this.refused = chain
    if (chain === undefined || !this.wantsNoReply) return undefined
    this.refused = undefined
    this.complete(chain, 0)
    return undefined
  }

  private push(head: number, writtenBytes: number): void {
    const at = 2 * (this.nextUsed & this.mask)
    this.usedElements[at] = head
    this.usedElements[at + 1] = writtenBytes
    this.nextUsed = (this.nextUsed + 1) & 0xffff
    Atomics.store(this.used, 1, this.nextUsed)
  }

  /**
   * Fills the chain's segments from the descriptors that start at `head`. The walk continues past a descriptor
   * outside guest memory or beyond 4 GiB, to find room for a reply. In the direction of that descriptor the chain ends
   * before it.
   */
  private walk(chain: DescriptorChain, head: number): ChainFault | undefined {
    const { segments } = chain
    let table = this.desc
    let tableSize = this.size
    let at = head * DESC_WORDS
    let steps = 0
    let count = 0
    let readable = 0
    let readableBytes = 0
    let writableBytes = 0
    let inIndirect = false
    let fault: ChainFault | undefined
    let brokenOff: ChainFault | undefined
    /** Directions with an unreachable descriptor: VRING_DESC_F_WRITE, and READ. */
    let lost = 0
    for (;;) {
      if (++steps > tableSize) {
        brokenOff = 'chain longer than the queue'
        break
      }
      const high = table[at + 1] >>> 0
      const gpa = high > MAX_SAFE_HIGH ? NOWHERE_GPA : high * 0x1_0000_0000 + (table[at] >>> 0)
      const lenBytes = table[at + 2] >>> 0
      const flagsAndNext = table[at + 3]
      if ((flagsAndNext & VRING_DESC_F_INDIRECT) !== 0) {
        brokenOff = inIndirect ? 'bad indirect table' : this.loadIndirect(gpa, lenBytes, flagsAndNext)
        if (brokenOff !== undefined) break
        inIndirect = true
        table = this.indirect
        tableSize = lenBytes / DESC_BYTES
        at = 0
        steps = 0
        continue
      }
      if (lenBytes > 0) {
        const writes = flagsAndNext & VRING_DESC_F_WRITE
        if (writes === 0 && writableBytes > 0) {
          brokenOff = 'readable after writable'
          break
        }
        const isBehind = lost !== 0 && (writes === 0 || lost !== READ)
        let reachedBytes = isBehind ? 0 : lenBytes
        if (!this.memory.contains(gpa, lenBytes)) {
          fault = 'address outside guest memory'
          lost |= writes === 0 ? READ : VRING_DESC_F_WRITE
          if (!isBehind) reachedBytes = this.memory.reachableBytes(gpa, lenBytes)
        }
        if ((writes === 0 ? readableBytes : writableBytes) + reachedBytes > MAX_CHAIN_BYTES) {
          // What lies behind is as good as unreachable: the dirty log marks every page of a chain, so it must have an end.
          fault ??= 'more than 4 GiB in one chain'
          lost |= writes === 0 ? READ : VRING_DESC_F_WRITE
          reachedBytes = 0
        }
        if (reachedBytes > 0) {
          if (count === this.size) {
            brokenOff = 'chain longer than the queue'
            break
          }
          segments[2 * count] = gpa
          segments[2 * count + 1] = reachedBytes
          count++
          if (writes !== 0) {
            writableBytes += reachedBytes
          } else {
            readableBytes += reachedBytes
            readable = count
          }
        }
      }
      if ((flagsAndNext & VRING_DESC_F_NEXT) === 0) break
      const next = flagsAndNext >>> 16
      if (next >= tableSize) {
        brokenOff = 'descriptor index out of range'
        break
      }
      at = next * DESC_WORDS
    }
    chain.readableSegments = readable
    chain.segmentCount = count
    chain.readableBytes = readableBytes
    chain.writableBytes = writableBytes
    fault ??= brokenOff
    this.wantsNoReply =
      writableBytes === 0 && (lost & VRING_DESC_F_WRITE) === 0 && brokenOff !== 'address outside guest memory'
    return fault
  }

  /**
   * Copies an indirect table, so that the walk sees one state of it, whatever its place and alignment. Returns its
   * fault: it must be the last descriptor of its chain and hold a whole number of descriptors (virtio 1.3, 2.7.5.3).
   */
  private loadIndirect(gpa: number, lenBytes: number, flagsAndNext: number): ChainFault | undefined {
    if (!this.allowIndirect || (flagsAndNext & VRING_DESC_F_NEXT) !== 0) return 'bad indirect table'
    if (lenBytes === 0 || lenBytes % DESC_BYTES !== 0 || lenBytes / DESC_BYTES > this.size)
      return 'bad indirect table'
    const copy = this.tableSegment
    copy.segments[0] = gpa
    copy.segments[1] = lenBytes
    copy.readableSegments = 1
    copy.segmentCount = 1
    copy.readableBytes = lenBytes
    return copy.readWords(0, lenBytes, this.indirect, this.indirectBytes)
      ? undefined
      : 'address outside guest memory'
  }
}

interface RingPart {
  readonly name: string
  readonly gpa: number
  readonly lenBytes: number
  readonly alignment: number
}

/** Opens views on all parts, with their addresses; opens none if one of them fails. */
function openRings(memory: GuestMemory, parts: readonly RingPart[]): [number, ArrayBuffer][] {
  const opened: [number, ArrayBuffer][] = []
  try {
    for (const part of parts) opened.push([part.gpa, openRing(memory, part)])
  } catch (error) {
    for (const [gpa, buffer] of opened) memory.closeRing(gpa, buffer)
    throw error
  }
  return opened
}

function openRing(memory: GuestMemory, { name, gpa, lenBytes, alignment }: RingPart): ArrayBuffer {
  if (gpa % alignment !== 0)
    throw new ProtocolError('BAD_RING', `${name} at ${gpa} is not aligned to ${alignment}`)
  const buffer = memory.openRing(gpa, lenBytes)
  if (buffer === undefined) {
    throw new ProtocolError(
      'BAD_RING',
      `${name} at ${gpa} (${lenBytes} bytes) is not inside one memory region`,
    )
  }
  return buffer
}
