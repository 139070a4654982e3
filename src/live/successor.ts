import { exitNow } from '../sandbox/own-process.js'
import { packetPair } from '../sockets/packet-pair.js'
import { closeFds, PacketSocket } from '../sockets/packet-socket.js'
import { PacketQueue } from './packet-queue.js'
import { messageIn, mustServeAt, type Place, SUCCESSION_VERSION, sendTo } from './succession.js'

const EXIT_REFUSED = 2

const TAKEN = Symbol('taken')

/** What a process has got from the one that serves, before the shares. */
export interface Inherited {
  /** The sockets of the shares that are served. */
  readonly shares: readonly string[]
  readonly controlFd: number | undefined
  readonly metricsFd: number | undefined
  readonly mountsFd: number | undefined
  /** The shares whose states say what their trees hold. */
  readonly counted: readonly string[]
}

/** Takes everything over from the process that serves. */
export class Successor {
  private readonly socket: PacketSocket

  /** Takes ownership of `fd`, which leads to the process that serves. */
  constructor(fd: number) {
    this.socket = new PacketSocket(fd)
  }

  /** Waits for the offer. Throws UserError if a process at `place` cannot take it. */
  accept(place: Place): Inherited {
    const packet = this.socket.receive()
    if (packet === undefined) throw new Error('the process that serves has given up')
    const offer = messageIn(packet)
    if (offer.op !== 'offer' || offer.version !== SUCCESSION_VERSION)
      throw new Error('the process that serves is of a version that this one cannot replace')
    mustServeAt(place, offer.place)
    const fds = [...packet.fds]
    return {
      shares: offer.place.shares,
      controlFd: offer.place.control === null ? undefined : fds.shift(),
      metricsFd: offer.place.metrics === null ? undefined : fds.shift(),
      mountsFd: offer.hasMounts ? fds.shift() : undefined,
      counted: offer.counted ?? [],
    }
  }

  /** Tells the process that serves why it must go on, and ends this one. That process logs the reason. */
  refuse(reason: string): never {
    try {
      sendTo(this.socket, { op: 'refused', reason })
    } catch {
      // The process that serves has given up.
    }
    return exitNow(EXIT_REFUSED)
  }

  /**
   * Says that this process is ready to take the shares over, whose threads wait at the other ends of `fds`, which are taken
   * over. Resolves when
   * they have, by `taken`, and this process may serve: the other one never does again. Rejects if it must not.
   */
  async take(shares: readonly string[], fds: readonly number[], taken: Promise<unknown>): Promise<void> {
    const { socket } = this
    sendTo(socket, { op: 'ready', shares }, fds)
    closeFds(fds)
    const packets = new PacketQueue(socket)
    const go = packets.next(Number.POSITIVE_INFINITY)
    const first = await Promise.race([taken.then(() => TAKEN), go])
    if (first !== TAKEN) throw new Error('the process that serves has given up')
    sendTo(socket, { op: 'taken' })
    const packet = await go
    if (packet === undefined || packet === 'late' || messageIn(packet).op !== 'go')
      throw new Error('the process that serves goes on')
    // Fails if the other process has not waited for it.
    sendTo(socket, { op: 'begun' })
    packets.close()
  }
}

/** Makes a socket for the thread of each share, and the ends for the threads of the process that serves. */
export function threadSockets(count: number): readonly { readonly own: number; readonly other: number }[] {
  return Array.from({ length: count }, () => packetPair())
}
