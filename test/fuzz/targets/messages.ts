import { strict as assert } from 'node:assert'
import { openSync } from 'node:fs'
import type { StateLoader, VhostUserDevice } from 'vhost-user-ts'
import { Backend, EventLoop, FaultLog, PENDING, ProtocolError, silentLogger } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import type { DescriptorChain } from '#vhost-user/rings/descriptor-chain'
import { BackendSession } from '#vhost-user/session/backend-session'
import { Connection, type Message } from '#vhost-user/session/connection'
import { countOpenFds, ok, socketPair } from '../../support/device/descriptors.js'
import { ByteSource } from '../byte-source.js'
import { recordsOf } from '../input.js'
import { MEMORY_BYTES, type MemoryKind, MessageFuzzer, memoryKinds } from '../message-fuzzer.js'
import type { Target } from '../target.js'

const HEADER_BYTES = 12
const REPLY_FLAGS = 5
const QUEUES = 3
const MAX_QUEUE_SIZE = 64
/** The check of every descriptor takes long, so it is made once in this many inputs. */
const INPUTS_PER_CHECK = 64
/** The number of batches that are served after each message, as many as a running driver can fill. */
const BATCHES = 2

/** Takes any request. It answers some later, some when they are cancelled, and some never. */
class AnyDevice implements VhostUserDevice {
  readonly name = 'any'
  readonly queueCount = QUEUES
  readonly maxQueueSize = MAX_QUEUE_SIZE
  readonly config = new Uint8Array(40)
  private readonly scratch = new Uint8Array(256)
  private readonly pending: DescriptorChain[] = []
  private readonly forgotten: DescriptorChain[] = []

  process(chain: DescriptorChain): number {
    const lenBytes = Math.min(chain.readableBytes, this.scratch.length)
    assert.ok(chain.read(0, lenBytes, this.scratch, 0))
    if ((this.scratch[0] & 7) === 7) {
      const kept = (this.scratch[0] & 8) === 0 ? this.pending : this.forgotten
      kept.push(chain)
      return PENDING
    }
    const room = Math.min(chain.writableBytes, this.scratch.length)
    assert.ok(chain.write(0, room, this.scratch, 0))
    return room
  }

  drain(): void {
    for (const chain of this.pending.splice(0)) assert.ok(chain.complete(0))
  }

  cancel(chain: DescriptorChain): void {
    const answers = (chain.readableBytes & 1) === 0
    if (answers) assert.ok(chain.complete(0))
  }

  writeConfig(offsetBytes: number, bytes: Uint8Array): boolean {
    if (offsetBytes + bytes.length > this.config.length) return false
    this.config.set(bytes, offsetBytes)
    return true
  }

  *saveState(): Generator<Uint8Array> {
    for (let n = 0; n < 3; n++) yield this.scratch
  }

  loadState(): StateLoader {
    return { write: () => {}, end: () => {}, abort: () => {} }
  }

  /** Checks that after the end of a session none of its requests can be answered. */
  checkGivenUp(): void {
    assert.equal(this.pending.length, 0)
    for (const chain of this.forgotten.splice(0)) {
      assert.equal(chain.write(0, 0, this.scratch, 0), false)
      assert.equal(chain.read(0, 0, this.scratch, 0), false)
      assert.equal(chain.complete(0), false)
    }
  }
}

/** Messages of a front-end, with rings that it writes to between them. The whole back-end runs, except its waiting. */
export class MessageTarget implements Target {
  readonly name = 'messages'
  private readonly bytes = new ByteSource()
  private readonly memory: Readonly<Record<MemoryKind, number>>
  private readonly heldFds: number
  private readonly backend: Backend
  private readonly device = new AnyDevice()
  private readonly loop = new EventLoop()
  private readonly received = new Uint8Array(65_536)
  private readonly receivedFds = new Int32Array(254)
  private inputs = 0

  constructor() {
    this.backend = new Backend(this.device, { loop: this.loop, pollUs: 0 })
    this.memory = {
      memory: ok(native.memfdCreate(MEMORY_BYTES)),
      'short memory': ok(native.memfdCreate(4096)),
      eventfd: ok(native.eventfdCreate(native.constants.EFD_NONBLOCK)),
      'blocking eventfd': ok(native.eventfdCreate(0)),
      directory: openSync('/', 'r'),
      device: openSync('/dev/null', 'r+'),
      socket: socketPair()[0],
    }
    this.heldFds = countOpenFds()
  }

  run(input: Uint8Array): number {
    const [fd, peerFd] = socketPair()
    const connection = new Connection(fd)
    const session = new BackendSession(
      connection,
      this.device,
      this.backend.rings,
      new FaultLog(silentLogger),
      { loop: this.loop },
    )
    const fuzzer = new MessageFuzzer(this.bytes, this.memory.memory)
    let messages = 0
    for (const record of recordsOf(input)) {
      this.bytes.begin(record)
      const { whole, fds, cutAt } = fuzzer.next()
      messages++
      this.send(
        peerFd,
        whole.subarray(0, cutAt),
        fds.map((kind) => this.memory[kind]),
      )
      if (cutAt < whole.length) {
        this.take(connection, session)
        this.send(peerFd, whole.subarray(cutAt), [])
      }
      this.take(connection, session)
      this.checkReplies(peerFd)
      this.serveRings()
      if (connection.closed) break
    }
    session.close()
    this.device.checkGivenUp()
    connection.close()
    native.close(peerFd)
    if (++this.inputs % INPUTS_PER_CHECK === 0)
      assert.equal(countOpenFds(), this.heldFds, 'descriptors that are left')
    return messages
  }

  close(): void {
    for (const kind of memoryKinds) native.close(this.memory[kind])
    this.loop.close()
  }

  private send(fd: number, bytes: Uint8Array, fds: readonly number[]): void {
    const { MSG_DONTWAIT } = native.constants
    ok(native.sendMessage(fd, bytes, 0, bytes.length, Int32Array.from(fds), fds.length, MSG_DONTWAIT))
  }

  /** Handles all messages that have arrived, as Backend does. */
  private take(connection: Connection, session: BackendSession): void {
    try {
      for (let message: Message | undefined; ; ) {
        message = connection.receive()
        if (message === undefined) return
        session.handle(message)
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      assert.equal(error.code, 'BAD_FRAME')
      connection.closed = true
    }
  }

  private serveRings(): void {
    // The loop is not waited on here, so the private part is called that serves a batch.
    for (let n = 0; n < BATCHES; n++) this.backend.rings.serveBatches()
    this.loop.wait(0)
  }

  /** Checks that replies are whole, and that their headers are right. */
  private checkReplies(fd: number): void {
    const { received, receivedFds } = this
    const { MSG_DONTWAIT } = native.constants
    const got = native.receiveMessage(fd, received, 0, received.length, receivedFds, MSG_DONTWAIT)
    assert.equal(receivedFds[0], 0, 'no descriptor is ever sent')
    const view = new DataView(received.buffer)
    let at = 0
    for (; at < got; at += HEADER_BYTES + view.getUint32(at + 8, true)) {
      assert.equal(view.getUint32(at + 4, true), REPLY_FLAGS)
      assert.ok(view.getUint32(at + 8, true) <= 12 + 256)
    }
    if (got > 0) assert.equal(at, got, 'a reply that is not whole')
  }
}
