import { strict as assert } from 'node:assert'
import { EventLoop } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { concat, u32, u64 } from '../fuse/fuse-wire.js'
import { Req } from './session-peer.js'

const HEADER_BYTES = 12
const VERSION_1 = 1
const REPLY = 4
const NEED_REPLY = 8
/** Only a hang takes so long. */
const TIMEOUT_MS = 20_000

/** A message, taken apart. */
export interface RawReply {
  readonly request: number
  readonly flags: number
  readonly payload: Uint8Array
}

/** A vhost-user socket that can send anything. */
export class RawSocket {
  private readonly fd: number
  private readonly loop = new EventLoop()
  private closed = false
  private readonly arrivedFds = new Int32Array(254)

  constructor(path: string) {
    this.fd = native.unixConnect(path, 0)
    assert.ok(this.fd >= 0, `connect: errno ${-this.fd}`)
    this.loop.add(this.fd, native.constants.EPOLLIN, () => {})
  }

  /** Sends bytes unchanged. */
  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): void {
    const sent = native.sendMessage(this.fd, bytes, 0, bytes.length, Int32Array.from(fds), fds.length, 0)
    assert.equal(sent, bytes.length)
  }

  /** Sends one whole message. */
  send(request: number, payload: Uint8Array, fds: readonly number[] = [], flags = 0): void {
    this.sendBytes(concat(u32(request, VERSION_1 | flags, payload.length), payload), fds)
  }

  /** Sends a message that wants an acknowledgement. Returns it: 0 means accepted. */
  ask(request: number, payload: Uint8Array, fds: readonly number[] = []): bigint {
    this.send(request, payload, fds, NEED_REPLY)
    return this.receiveU64(request)
  }

  /** Returns the u64 that answers `request`. */
  receiveU64(request: number): bigint {
    const reply = this.receive()
    assert.ok(reply !== undefined, `the connection ended instead of an answer to ${request}`)
    assert.deepEqual([reply.request, reply.flags], [request, VERSION_1 | REPLY])
    assert.equal(reply.payload.length, 8)
    return new DataView(reply.payload.buffer).getBigUint64(0, true)
  }

  /** Returns the next message, or undefined if the other end has closed the connection. */
  receive(): RawReply | undefined {
    const header = this.receiveBytes(HEADER_BYTES)
    if (header === undefined) return undefined
    const view = new DataView(header.buffer)
    const payload = this.receiveBytes(view.getUint32(8, true))
    if (payload === undefined) return undefined
    return { request: view.getUint32(0, true), flags: view.getUint32(4, true), payload }
  }

  /** Negotiates acknowledgements and memory slots. */
  negotiate(): void {
    this.send(Req.GET_FEATURES, new Uint8Array(0))
    const features = this.receiveU64(Req.GET_FEATURES)
    this.send(Req.GET_PROTOCOL_FEATURES, new Uint8Array(0))
    const protocolFeatures = this.receiveU64(Req.GET_PROTOCOL_FEATURES)
    this.send(Req.SET_PROTOCOL_FEATURES, u64(protocolFeatures))
    assert.equal(this.ask(Req.SET_FEATURES, u64(features)), 0n)
  }

  /** Disconnects, if still connected. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.loop.close()
    native.close(this.fd)
  }

  private receiveBytes(lenBytes: number): Uint8Array | undefined {
    const bytes = new Uint8Array(lenBytes)
    const endMs = performance.now() + TIMEOUT_MS
    for (let have = 0; have < lenBytes; ) {
      this.loop.wait(Math.max(0, endMs - performance.now()) | 0)
      assert.ok(performance.now() < endMs, 'no answer')
      const got = native.receiveMessage(this.fd, bytes, have, lenBytes - have, this.arrivedFds, 0)
      for (let n = 1; n <= this.arrivedFds[0]; n++) native.close(this.arrivedFds[n])
      if (got <= 0) return undefined
      have += got
    }
    return bytes
  }
}
