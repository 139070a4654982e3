import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { ProtocolError } from '../errors.js'
import { VHOST_USER_VERSION, VHOST_USER_VERSION_MASK } from '../protocol.js'
import { MessageHeader } from './wire.js'

/** The longest payload of the protocol; checked before a byte of it is read. */
const MAX_PAYLOAD_BYTES = 4096
/** More descriptors than any message carries; a flood of them ends the connection. */
const MAX_FDS = 32
/** The elements that receiveMessage needs: the count and SCM_MAX_FD descriptors. */
const FDS_ELEMENTS = 254

const noFds = new Int32Array(0)

/** A received message. It is valid until the next `receive`, which closes the descriptors that were not taken. */
export interface Message {
  request: number
  flags: number
  payloadBytes: number
  /** The payload begins at byte 0. */
  readonly payload: DataView
  readonly fds: number[]
}

/**
 * A vhost-user socket: splits the byte stream into messages and owns every received descriptor until `takeFd` hands
 * it over. Never blocks on an incomplete message.
 */
export class Connection {
  /** True after the end of the stream, an error on it, or a malformed frame. */
  closed = false
  private readonly header = new Uint8Array(MessageHeader.BYTES)
  private readonly headerView = new DataView(this.header.buffer)
  private readonly payload = new Uint8Array(MAX_PAYLOAD_BYTES)
  private readonly outgoing = new Uint8Array(MessageHeader.BYTES + MAX_PAYLOAD_BYTES)
  private readonly outgoingView = new DataView(this.outgoing.buffer)
  private readonly arrivedFds = new Int32Array(FDS_ELEMENTS)
  private headerBytes = 0
  private payloadBytes = 0
  private readonly message: Message = {
    request: 0,
    flags: 0,
    payloadBytes: 0,
    payload: new DataView(this.payload.buffer),
    fds: [],
  }
  /** The payload for `send`. */
  readonly body = new DataView(this.outgoing.buffer, MessageHeader.BYTES)

  /** Takes ownership of `fd`, a connected unix stream socket. */
  constructor(readonly fd: number) {}

  /**
   * Returns the next whole message, or undefined if it is incomplete or the connection has ended (`closed`). `block`
   * waits for it. Throws ProtocolError BAD_FRAME on a malformed frame.
   */
  receive(block = false): Message | undefined {
    if (this.closed) return undefined
    this.finishMessage()
    const { header, message } = this
    if (this.headerBytes < MessageHeader.BYTES) {
      this.headerBytes = this.fill(header, this.headerBytes, MessageHeader.BYTES, block)
      if (this.headerBytes < MessageHeader.BYTES) return undefined
      this.readHeader()
    }
    this.payloadBytes = this.fill(this.payload, this.payloadBytes, message.payloadBytes, block)
    if (this.payloadBytes < message.payloadBytes) return undefined
    this.headerBytes = 0
    this.payloadBytes = 0
    return message
  }

  /** The bytes and descriptors of a message that has not come whole. The connection keeps the descriptors. */
  get received(): { readonly bytes: Uint8Array; readonly fds: readonly number[] } {
    const header = this.header.subarray(0, this.headerBytes)
    const bytes = new Uint8Array(this.headerBytes + this.payloadBytes)
    bytes.set(header)
    bytes.set(this.payload.subarray(0, this.payloadBytes), this.headerBytes)
    return { bytes, fds: this.headerBytes === 0 ? [] : this.message.fds.filter((fd) => fd >= 0) }
  }

  /** Continues with a message of which another process has received these bytes and descriptors, which are taken over. */
  continueWith(bytes: Uint8Array, fds: readonly number[]): void {
    this.message.fds.push(...fds)
    if (bytes.length > MessageHeader.BYTES + MAX_PAYLOAD_BYTES)
      throw new ProtocolError('BAD_FRAME', `${bytes.length} bytes of one message`)
    this.headerBytes = Math.min(bytes.length, MessageHeader.BYTES)
    this.header.set(bytes.subarray(0, this.headerBytes))
    if (bytes.length < MessageHeader.BYTES) return
    this.readHeader()
    this.payloadBytes = bytes.length - MessageHeader.BYTES
    this.payload.set(bytes.subarray(MessageHeader.BYTES))
  }

  /** Hands over a descriptor of the current message; the caller closes it. */
  takeFd(message: Message, n: number): number {
    const fd = message.fds[n]
    message.fds[n] = -1
    return fd
  }

  /** Sends a message whose payload is the first `payloadBytes` of `body`. Returns false if the peer is gone. */
  send(request: number, flags: number, payloadBytes: number, fds: Int32Array = noFds): boolean {
    MessageHeader.write(this.outgoingView, request, flags, payloadBytes)
    const total = MessageHeader.BYTES + payloadBytes
    // A unix socket takes such a short message whole or not at all. A peer that does not read counts as gone.
    const flagsOfSend = native.constants.MSG_DONTWAIT
    const sent = native.sendMessage(this.fd, this.outgoing, 0, total, fds, fds.length, flagsOfSend)
    if (sent !== total) this.closed = true
    return !this.closed
  }

  /** Closes the socket and every descriptor that was not taken. */
  close(): void {
    this.closed = true
    this.closeFds()
    native.close(this.fd)
  }

  private readHeader(): void {
    const { headerView, message } = this
    message.request = MessageHeader.request(headerView)
    message.flags = MessageHeader.flags(headerView)
    message.payloadBytes = MessageHeader.payloadBytes(headerView)
    const version = message.flags & VHOST_USER_VERSION_MASK
    if (version !== VHOST_USER_VERSION)
      throw new ProtocolError('BAD_FRAME', `message version ${version}, not 1`)
    if (message.payloadBytes <= MAX_PAYLOAD_BYTES) return
    throw new ProtocolError(
      'BAD_FRAME',
      `message of ${message.payloadBytes} bytes, more than ${MAX_PAYLOAD_BYTES}`,
    )
  }

  private fill(bytes: Uint8Array, have: number, want: number, block: boolean): number {
    while (have < want) {
      const flags = block ? 0 : native.constants.MSG_DONTWAIT
      const got = native.receiveMessage(this.fd, bytes, have, want - have, this.arrivedFds, flags)
      if (got <= 0) {
        if (got !== -os.errno.EAGAIN) this.closed = true
        return have
      }
      for (let n = 1; n <= this.arrivedFds[0]; n++) this.message.fds.push(this.arrivedFds[n])
      if (this.message.fds.length > MAX_FDS) {
        throw new ProtocolError('BAD_FRAME', `${this.message.fds.length} descriptors with one message`)
      }
      have += got
    }
    return have
  }

  /** Prepares for a new message: closes the remaining descriptors of the last one. */
  private finishMessage(): void {
    if (this.headerBytes === 0) this.closeFds()
  }

  private closeFds(): void {
    for (const fd of this.message.fds) if (fd >= 0) native.close(fd)
    this.message.fds.length = 0
  }
}

/** Throws unless the message has exactly this many payload bytes and descriptors. */
export function expect(message: Message, payloadBytes: number, fdCount: number): void {
  if (message.payloadBytes !== payloadBytes) {
    throw new ProtocolError('BAD_PAYLOAD', `payload of ${message.payloadBytes} bytes, not ${payloadBytes}`)
  }
  if (message.fds.length !== fdCount) {
    throw new ProtocolError('BAD_FDS', `${message.fds.length} descriptors, not ${fdCount}`)
  }
}

/** Sends a message without a payload to `fd`, which the caller keeps. Returns false if the peer does not take it. */
export function sendHeader(fd: number, request: number): boolean {
  const bytes = new Uint8Array(MessageHeader.BYTES)
  MessageHeader.write(new DataView(bytes.buffer), request, VHOST_USER_VERSION, 0)
  const { MSG_DONTWAIT } = native.constants
  return native.sendMessage(fd, bytes, 0, bytes.length, noFds, 0, MSG_DONTWAIT) === bytes.length
}
