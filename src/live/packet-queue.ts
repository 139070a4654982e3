import { performance } from 'node:perf_hooks'
import { EventLoop } from 'vhost-user-ts'
import type { Packet, PacketSocket } from '../sockets/packet-socket.js'

/** The longest that Node's timers take. */
const LONGEST_MS = 2 ** 31 - 1

/** Receives packets from Node's event loop, one by one. */
export class PacketQueue {
  private readonly loop = new EventLoop()
  private readonly unwatch: () => void
  private packets: Packet[] = []
  private ended = false
  private closed = false
  private wake: (() => void) | undefined

  constructor(private readonly socket: PacketSocket) {
    socket.onPacket(this.loop, (packet) => {
      if (packet === undefined) this.ended = true
      else if (packet.text !== '') this.packets.push(packet)
      this.wake?.()
    })
    this.unwatch = this.loop.watch(() => this.loop.wait(0))
  }

  /** Resolves to the next packet, to undefined at the end, or to 'late' if none comes until `untilMs`. */
  async next(untilMs: number): Promise<Packet | undefined | 'late'> {
    for (;;) {
      const packet = this.packets.shift()
      if (packet !== undefined || this.ended) return packet
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) return 'late'
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(leftMs, LONGEST_MS))
        this.wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.wake = undefined
    }
  }

  /** Closes the socket, too. Idempotent. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.unwatch()
    this.loop.close()
    this.socket.close()
  }
}
