import { constants as os } from 'node:os'
import type { EventLoop } from 'vhost-user-ts'
import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

/** The longest message. The kernel's own limit, net.core.wmem_default, is higher. */
const MAX_BYTES = 128 * 1024
/** The elements that receiveMessage needs: the count and SCM_MAX_FD descriptors. */
const FDS_ELEMENTS = 254

/** A message, and the descriptors that came with it, which the receiver owns. */
export interface Packet {
  readonly text: string
  readonly fds: readonly number[]
}

/** A connected unix socket whose messages keep their bounds (SOCK_SEQPACKET) and carry descriptors. */
export class PacketSocket {
  private readonly bytes = new Uint8Array(MAX_BYTES)
  private readonly fds = new Int32Array(FDS_ELEMENTS)

  /** Takes ownership of `fd`. */
  constructor(readonly fd: number) {}

  /** Sends a message; the caller keeps the descriptors. Throws if the message is too long or nobody reads it. */
  send(text: string, fds: readonly number[] = []): void {
    const bytes = new TextEncoder().encode(text)
    if (bytes.length > MAX_BYTES)
      throw new Error(`a message of ${bytes.length} bytes, more than ${MAX_BYTES}`)
    const sent = native.sendMessage(this.fd, bytes, 0, bytes.length, Int32Array.from(fds), fds.length, 0)
    if (sent !== bytes.length) throw new Error(`the other process does not answer (${errnoName(-sent)})`)
  }

  /** Waits for a message. Returns undefined when the other end is closed. */
  receive(): Packet | undefined {
    return this.read(0)
  }

  /** Calls `handler` with each message, and with undefined at the end, from `loop`. */
  onPacket(loop: EventLoop, handler: (packet: Packet | undefined) => void): void {
    loop.addReadable(this.fd, () => {
      const packet = this.read(native.constants.MSG_DONTWAIT)
      if (packet === undefined) loop.remove(this.fd)
      handler(packet)
    })
  }

  close(): void {
    native.close(this.fd)
  }

  private read(flags: number): Packet | undefined {
    const got = native.receiveMessage(this.fd, this.bytes, 0, MAX_BYTES, this.fds, flags)
    if (got === -os.errno.EAGAIN) return { text: '', fds: [] }
    if (got <= 0) return undefined
    return {
      text: new TextDecoder().decode(this.bytes.subarray(0, got)),
      fds: [...this.fds.subarray(1, 1 + this.fds[0]!)],
    }
  }
}

/** Closes descriptors that came in a packet. */
export function closeFds(fds: readonly number[]): void {
  for (const fd of fds) native.close(fd)
}
