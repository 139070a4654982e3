import type { Test } from 'tap'
import { EventLoop, FaultLog, type Logger, silentLogger, type VhostUserDevice } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import type { RingHost } from '#vhost-user/rings/ring-set'
import { BackendSession } from '#vhost-user/session/backend-session'
import { Connection } from '#vhost-user/session/connection'
import { checkNoFdLeak, eventfd, ok, receiveBytes, sendBytes, socketPair } from '../device/descriptors.js'
import { viewOf } from '../hex.js'
import { MIB, UVA_BASE } from './guest-ram.js'
import { layoutAt } from './ring.js'

/** Requests by number, as the specification lists them. */
export const Req = Object.freeze({
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
})

/** VERSION_1, EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES. */
export const FEATURES = 0x1_7000_0000n
/** MQ, REPLY_ACK, RESET_DEVICE, CONFIGURE_MEM_SLOTS. */
export const PROTOCOL_FEATURES = 0xa009n
/** BACKEND_REQ and CONFIG: of a device with a configuration space. */
export const CONFIG_FEATURES = 0x220n
/** LOG_SHMFD and DEVICE_STATE: of a device whose state can move. */
export const STATE_FEATURES = 0x8_0002n
/** VHOST_F_LOG_ALL. */
export const LOG_ALL = 0x400_0000n

const VERSION = 1
const REPLY = 5
const NEED_REPLY = 8

export const u64 = (value: bigint | number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)
export const u32s = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer)
const u64s = (...values: number[]) => new Uint8Array(BigUint64Array.from(values.map(BigInt)).buffer)
const join = (...parts: Uint8Array[]) => Uint8Array.from(Buffer.concat(parts))

export interface Region {
  readonly gpa: number
  readonly sizeBytes: number
  readonly uva?: number
  readonly fileOffsetBytes?: number
}

const regionBytes = ({ gpa, sizeBytes, uva = UVA_BASE + gpa, fileOffsetBytes = 0 }: Region) =>
  u64s(gpa, sizeBytes, uva, fileOffsetBytes)

/** Payloads of ADD_MEM_REG and REM_MEM_REG, SET_MEM_TABLE, and SET_VRING_ADDR for rings at guest address `gpa`. */
export const oneRegion = (region: Region) => join(u64(0), regionBytes(region))
export const memoryTable = (...regions: Region[]) =>
  join(u32s(regions.length, 0), ...regions.map(regionBytes))
export function ringAddresses(
  index: number,
  gpa: number,
  uvaBase = UVA_BASE,
  flags = 0,
  logGpa = 0,
): Uint8Array {
  const { descGpa, availGpa, usedGpa } = layoutAt(gpa, 0)
  return join(u32s(index, flags), u64s(uvaBase + descGpa, uvaBase + usedGpa, uvaBase + availGpa, logGpa))
}

/** The answer to one request. */
export interface Reply {
  readonly request: number
  readonly payload: Uint8Array
}

/** A session whose rings run nowhere: it only records what happens to them. The test is the front-end. */
export class SessionPeer {
  readonly session: BackendSession
  readonly connection: Connection
  readonly loop = new EventLoop()
  /** Starts and stops of rings, drains and resets of the device, and log lines. */
  readonly events: string[] = []
  /** Set to make the next start of a ring fail. */
  startError: Error | undefined
  private readonly fd: number
  private readonly protocolFeatures: bigint

  constructor(device: Partial<VhostUserDevice> = {}) {
    const [fd, peerFd] = socketPair()
    this.fd = peerFd
    this.connection = new Connection(fd)
    this.protocolFeatures =
      PROTOCOL_FEATURES |
      (device.config === undefined ? 0n : CONFIG_FEATURES) |
      (device.saveState === undefined ? 0n : STATE_FEATURES)
    const note = (text: string) => this.events.push(text)
    const host: RingHost = {
      ringStarted: (vring) => {
        const error = this.startError
        this.startError = undefined
        if (error !== undefined) throw error
        note(`start ${vring.index}`)
      },
      serveUnserved: () => {},
      ringStopping: (vring) => note(`stop ${vring.index}`),
    }
    const logger: Logger = { ...silentLogger, warn: (_fields, text) => note(text) }
    const whole: VhostUserDevice = {
      name: 'test',
      queueCount: 2,
      process: () => 0,
      drain: () => note('drain'),
      reset: () => note('reset'),
      ...device,
    }
    this.session = new BackendSession(this.connection, whole, host, new FaultLog(logger), { loop: this.loop })
  }

  /**
   * Sends one request and has it handled. Returns undefined if there is no answer. The caller keeps the descriptors.
   */
  ask(
    request: number,
    payload: Uint8Array = new Uint8Array(0),
    fds: readonly number[] = [],
    flags = VERSION,
  ): Reply | undefined {
    sendBytes(this.fd, join(u32s(request, flags, payload.length), payload), fds)
    const message = this.connection.receive()
    if (message === undefined) throw new Error('the message is not whole')
    this.session.handle(message)
    // The connection closes untaken descriptors when it looks for the next message.
    if (this.connection.receive() !== undefined) throw new Error('a second message')
    const bytes = receiveBytes(this.fd)
    if (bytes.length === 0) return undefined
    const view = viewOf(bytes)
    if (view.getUint32(4, true) !== REPLY) throw new Error(`reply flags ${view.getUint32(4, true)}`)
    if (bytes.length !== 12 + view.getUint32(8, true)) throw new Error(`${bytes.length} bytes of reply`)
    return { request: view.getUint32(0, true), payload: bytes.subarray(12) }
  }

  /** Returns the u64 that answers a request: its own reply or an acknowledgement. */
  askU64(
    request: number,
    payload?: Uint8Array,
    fds?: readonly number[],
    flags = VERSION,
  ): bigint | undefined {
    const reply = this.ask(request, payload, fds, flags)
    if (reply === undefined) return undefined
    if (reply.request !== request || reply.payload.length !== 8) throw new Error('not a u64 of this request')
    return viewOf(reply.payload).getBigUint64(0, true)
  }

  /** Returns true if the back-end accepts a request, according to its acknowledgement. */
  takes(request: number, payload?: Uint8Array, fds?: readonly number[]): boolean {
    const ack = this.askU64(request, payload, fds, VERSION | NEED_REPLY)
    if (ack === undefined) throw new Error('no acknowledgement')
    return ack === 0n
  }

  /** Like `takes`, with a new eventfd. */
  takesEventfd(request: number, payload: Uint8Array): boolean {
    return this.takesFds(request, payload, [eventfd()])
  }

  /** Like `takes`, with descriptors that are closed afterwards. */
  takesFds(request: number, payload: Uint8Array, fds: readonly number[]): boolean {
    const taken = this.takes(request, payload, fds)
    for (const fd of fds) native.close(fd)
    return taken
  }

  /** Negotiates features and acknowledgements. */
  negotiate(features = FEATURES): this {
    this.ask(Req.SET_PROTOCOL_FEATURES, u64(this.protocolFeatures))
    this.must(Req.SET_FEATURES, u64(features))
    return this
  }

  /** Adds memory. */
  share(region: Region = { gpa: 0, sizeBytes: MIB }): this {
    const fd = ok(native.memfdCreate(region.sizeBytes))
    this.must(Req.ADD_MEM_REG, oneRegion(region), [fd])
    native.close(fd)
    return this
  }

  /** Lets the loop run until `done`, as a back-end does. */
  turn(done: () => boolean): void {
    for (let n = 0; n < 1000; n++) {
      if (done()) return
      this.loop.wait(1)
    }
    throw new Error('it did not happen')
  }

  /** Returns the u64 of an answer that came later, or undefined if there is none yet. */
  lateU64(): bigint | undefined {
    const bytes = receiveBytes(this.fd)
    return bytes.length === 0 ? undefined : viewOf(bytes).getBigUint64(12, true)
  }

  /** Sets up a ring of 16 at `gpa`, and starts it. */
  start(index: number, gpa = 0, base = 0): this {
    this.must(Req.SET_VRING_NUM, u32s(index, 16))
    this.must(Req.SET_VRING_BASE, u32s(index, base))
    this.must(Req.SET_VRING_ADDR, ringAddresses(index, gpa))
    if (!this.takesEventfd(Req.SET_VRING_KICK, u64(index))) throw new Error('kick refused')
    this.must(Req.SET_VRING_ENABLE, u32s(index, 1))
    return this
  }

  /** Returns the index at which a ring stopped. */
  stop(index: number): number | undefined {
    const reply = this.ask(Req.GET_VRING_BASE, u32s(index, 0))
    return reply === undefined ? undefined : viewOf(reply.payload).getUint32(4, true)
  }

  /** The rings that run. */
  get running(): number[] {
    return this.session.rings.vrings.filter(({ queue }) => queue !== undefined).map(({ index }) => index)
  }

  /** Returns the events since the last call. */
  takeEvents(): string[] {
    return this.events.splice(0)
  }

  close(): void {
    this.session.close()
    this.connection.close()
    this.loop.close()
    native.close(this.fd)
  }

  private must(request: number, payload: Uint8Array, fds?: readonly number[]): void {
    if (!this.takes(request, payload, fds)) throw new Error(`request ${request} refused: ${this.events}`)
  }
}

/** Runs `use` with a session, and checks that it leaves no descriptor open. */
export function withPeer(
  t: Test,
  use: (peer: SessionPeer) => void,
  device: Partial<VhostUserDevice> = {},
): void {
  checkNoFdLeak(t, () => {
    const peer = new SessionPeer(device)
    try {
      use(peer)
    } finally {
      peer.close()
    }
  })
}
