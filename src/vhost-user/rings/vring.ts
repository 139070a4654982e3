import * as native from 'virtiofsd-ts-native'
import { ProtocolError } from '../errors.js'
import type { GuestMemory } from '../memory/guest-memory.js'
import type { HandedFds, HandedRing } from '../session/handed-session.js'
import { availBytes, descBytes, type RingAddresses, type RingFeatures, usedBytes } from './ring-layout.js'
import { SplitVirtqueue } from './split-virtqueue.js'

/**
 * A queue as the front-end sets it up, and the running virtqueue once the setup is complete. Owns its three eventfds.
 */
export class Vring {
  size = 0
  /** The index at which the next start continues. */
  base = 0
  enabled = false
  /** Another thread serves the queue, and uses the descriptors meanwhile. */
  isLent = false
  addresses: RingAddresses | undefined
  /** The used ring's address in the dirty log, or -1 if the front-end does not want it marked. */
  logGpa = -1
  queue: SplitVirtqueue | undefined
  /** Heads of requests that were in flight when the queue was suspended: they are served first. */
  unserved: readonly number[] = []
  kickFd = -1
  private callFd = -1
  private callMayBlock = false
  /** The turn in which the descriptor's mode was last read. */
  private callLookedAt = -1
  private errFd = -1

  constructor(readonly index: number) {}

  /** True if everything needed to start is set. */
  get ready(): boolean {
    return !this.isLent && this.enabled && this.kickFd >= 0 && this.size > 0 && this.addresses !== undefined
  }

  /** Returns true if the queue runs with one of its rings in this region. */
  runsIn(gpa: number, sizeBytes: number): boolean {
    if (this.queue === undefined) return false
    const { descGpa, availGpa, usedGpa } = this.queue.layout
    return [descGpa, availGpa, usedGpa].some((at) => at >= gpa && at < gpa + sizeBytes)
  }

  /**
   * Starts the queue. Throws ProtocolError BAD_RING if the rings are not in guest memory; the state is then
   * unchanged.
   */
  start(memory: GuestMemory, features: RingFeatures): SplitVirtqueue {
    const { size, addresses } = this
    if (addresses === undefined) throw new ProtocolError('BAD_RING', `queue ${this.index} has no addresses`)
    const layout = {
      size,
      descGpa: this.translate(memory, 'descriptor table', addresses.descUva, descBytes(size)),
      availGpa: this.translate(memory, 'available ring', addresses.availUva, availBytes(size)),
      usedGpa: this.translate(memory, 'used ring', addresses.usedUva, usedBytes(size)),
    }
    this.queue = new SplitVirtqueue(memory, layout, features.eventIdx, features.indirect, this.base)
    return this.queue
  }

  /** Stops the queue and remembers its index. Requests still in flight are given up. */
  stop(): void {
    if (this.queue === undefined) return
    this.base = this.queue.lastAvail
    this.queue.close()
    this.queue = undefined
  }

  /** Stops the queue and remembers the requests in flight, which are neither completed nor given up. */
  suspend(): void {
    this.callLookedAt = -1
    if (this.queue === undefined) return
    this.unserved = [...this.unserved, ...this.queue.inFlightHeads]
    this.stop()
  }

  /** What another process needs to go on, and its descriptors. Undefined for a queue without any. */
  get handed(): { ring: HandedRing; fds: readonly number[] } | undefined {
    const { index, size, base, enabled, addresses, kickFd, callFd, errFd, unserved } = this
    const fds = [kickFd, callFd, errFd].filter((fd) => fd >= 0)
    if (fds.length === 0 && size === 0 && !enabled) return undefined
    const [kick, call, err] = [kickFd >= 0, callFd >= 0, errFd >= 0]
    const ring = { index, size, base, enabled, addresses: addresses ?? null, kick, call, err }
    return { ring: { ...ring, inFlight: unserved }, fds }
  }

  /** Takes over what another process has handed. The queue does not run yet. Throws RangeError. */
  adopt(ring: HandedRing, fds: HandedFds): void {
    this.size = ring.size
    this.base = ring.base
    this.enabled = ring.enabled
    this.addresses = ring.addresses ?? undefined
    this.unserved = ring.inFlight
    this.setKick(fds.takeIf(ring.kick))
    this.setCall(fds.takeIf(ring.call))
    this.setErr(fds.takeIf(ring.err))
  }

  /** Goes on where another thread has left the queue, which was lent. */
  takeBack({ base, inFlight }: HandedRing): void {
    this.isLent = false
    this.base = base
    this.unserved = inFlight
  }

  /** Forgets a queue that was lent by another thread, without closing its descriptors. */
  giveBack(): void {
    this.kickFd = -1
    this.callFd = -1
    this.errFd = -1
    this.reset()
  }

  /** Takes over `fd` (-1: none) as the descriptor that the driver kicks. */
  setKick(fd: number): void {
    closeFd(this.kickFd)
    this.kickFd = fd
  }

  /** Takes over `fd` (-1: none) as the descriptor that signals used buffers to the driver. */
  setCall(fd: number): void {
    closeFd(this.callFd)
    this.callFd = fd
    this.callLookedAt = -1
  }

  /** Takes over `fd` (-1: none) as the descriptor that reports a broken queue to the front-end. */
  setErr(fd: number): void {
    closeFd(this.errFd)
    this.errFd = fd
  }

  /** Signals the driver. `turn`, not -1, changes whenever the front-end has had time to change something. */
  signal(turn: number): void {
    if (this.callFd < 0) return
    if (turn !== this.callLookedAt) {
      this.callLookedAt = turn
      // A full eventfd in blocking mode would block this thread. The mode belongs to the front-end, which may change
      // it.
      this.callMayBlock = (native.statusFlags(this.callFd) & native.constants.O_NONBLOCK) === 0
    }
    if (this.callMayBlock) native.eventfdSignalPolled(this.callFd)
    else native.eventfdSignal(this.callFd)
  }

  signalError(): void {
    if (this.errFd >= 0) native.eventfdSignalPolled(this.errFd)
  }

  /** Forgets the driver's setup; the descriptors for calls and errors stay. */
  reset(): void {
    this.stop()
    this.setKick(-1)
    this.base = 0
    this.unserved = []
    this.size = 0
    this.enabled = false
    this.addresses = undefined
    this.logGpa = -1
  }

  close(): void {
    this.reset()
    this.setCall(-1)
    this.setErr(-1)
  }

  private translate(memory: GuestMemory, name: string, uva: number, lenBytes: number): number {
    const gpa = uva < 0 ? -1 : memory.gpaOfUva(uva, lenBytes)
    if (gpa < 0)
      throw new ProtocolError('BAD_RING', `queue ${this.index}: ${name} is not inside one memory region`)
    return gpa
  }
}

/** Closes a descriptor if there is one (-1: none). */
export function closeFd(fd: number): void {
  if (fd >= 0) native.close(fd)
}

/** The number of requests in flight on these rings. */
export function countInFlight(vrings: readonly Vring[]): number {
  let count = 0
  for (const { queue } of vrings) count += queue?.inFlightCount ?? 0
  return count
}
