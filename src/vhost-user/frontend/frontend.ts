import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed, ProtocolError } from '../errors.js'
import { EventLoop } from '../event-loop.js'
import { GuestMemory } from '../memory/guest-memory.js'
import {
  FrontendRequest,
  featureBits,
  hasBit,
  ProtocolFeature,
  requestName,
  VHOST_USER_NEED_REPLY_FLAG,
  VHOST_USER_REPLY_FLAG,
  VHOST_USER_VERSION,
  VHOST_VRING_F_LOG,
  VirtioFeature,
} from '../protocol.js'
import { availBytes, descBytes, usedBytes } from '../rings/ring-layout.js'
import { Connection, type Message } from '../session/connection.js'
import {
  ConfigAccess,
  MemoryRegion,
  MemoryTable,
  SingleRegion,
  U64,
  VringAddress,
  VringState,
} from '../session/wire.js'
import { type Buffer, DriverVirtqueue } from './driver-virtqueue.js'

const PAGE_BYTES = 4096
/** The front-end's user address of guest address 0; any number would do. */
const UVA_BASE = 0x7f00_0000_0000

export interface FrontendOptions {
  /** Features of the device class to acknowledge if offered. Default none. */
  readonly deviceFeatures?: bigint
  readonly eventIdx?: boolean
  readonly indirect?: boolean
  /**
   * The sizes of the regions of guest memory, in bytes. They adjoin from guest address 0 on. Default one of 64 MiB.
   */
  readonly regionBytes?: readonly number[]
  /** Makes the file of a region. Returns a descriptor, which the front-end closes. Default: memory that cannot shrink. */
  readonly makeMemory?: (sizeBytes: number) => number
  /** How long to wait for an answer. Default 5000 ms. */
  readonly timeoutMs?: number
}

/**
 * The front-end's half of a vhost-user connection, as in a virtual machine monitor, with enough of a guest to drive
 * the device: for tests and tools. Synchronous; every wait has a time limit.
 */
export class Frontend {
  readonly memory: GuestMemory
  connection: Connection
  readonly queues: DriverVirtqueue[] = []
  features = 0n
  protocolFeatures = 0n
  /** True: the back-end marks what it writes to used rings in the dirty log. */
  logsRings = false
  private readonly loop: EventLoop
  private readonly memoryFds: number[] = []
  private readonly regions: { gpa: number; sizeBytes: number }[] = []
  private readonly timeoutMs: number
  private allocatedTo = 0
  private arenaFrom = 0

  /** Connects; nothing is negotiated yet. Throws SystemCallError. */
  constructor(
    socketPath: string,
    private readonly options: FrontendOptions = {},
  ) {
    this.timeoutMs = options.timeoutMs ?? 5000
    // First: a back-end that is not there yet may be tried again and again.
    this.connection = new Connection(mustSucceed('connect', native.unixConnect(socketPath, 0)))
    this.memory = new GuestMemory()
    this.loop = new EventLoop()
    this.loop.addReadable(this.connection.fd, () => {})
  }

  /** Negotiates features and shares memory, as QEMU does; queues come with `addQueue`. */
  negotiate(): void {
    this.negotiateFeatures()
    for (const sizeBytes of this.options.regionBytes ?? [64 << 20]) this.addRegion(sizeBytes)
  }

  /**
   * Connects to another back-end with the same memory and queues, which do not run there yet. Returns the connection to
   * the old one, which the caller closes. Throws SystemCallError.
   */
  moveTo(socketPath: string): Connection {
    const before = this.connection
    this.connection = new Connection(mustSucceed('connect', native.unixConnect(socketPath, 0)))
    this.loop.remove(before.fd)
    this.loop.addReadable(this.connection.fd, () => {})
    this.protocolFeatures = 0n
    this.logsRings = false
    this.negotiateFeatures()
    this.sendMemoryTable()
    return before
  }

  private negotiateFeatures(): void {
    const { options } = this
    const offered = this.getU64(FrontendRequest.GET_FEATURES)
    const wanted =
      featureBits(VirtioFeature.VERSION_1, VirtioFeature.PROTOCOL_FEATURES) |
      (options.eventIdx ? featureBits(VirtioFeature.RING_EVENT_IDX) : 0n) |
      (options.indirect ? featureBits(VirtioFeature.RING_INDIRECT_DESC) : 0n) |
      (options.deviceFeatures ?? 0n)
    this.features = offered & wanted
    const protocolFeatures =
      this.getU64(FrontendRequest.GET_PROTOCOL_FEATURES) &
      featureBits(
        ProtocolFeature.MQ,
        ProtocolFeature.REPLY_ACK,
        ProtocolFeature.CONFIG,
        ProtocolFeature.RESET_DEVICE,
        ProtocolFeature.CONFIGURE_MEM_SLOTS,
        ProtocolFeature.LOG_SHMFD,
        ProtocolFeature.DEVICE_STATE,
      )
    this.setU64(FrontendRequest.SET_PROTOCOL_FEATURES, protocolFeatures)
    // Set only now: not every back-end acknowledges the message that negotiates acknowledgements.
    this.protocolFeatures = protocolFeatures
    this.request(FrontendRequest.SET_OWNER, 0)
    this.setU64(FrontendRequest.SET_FEATURES, this.features)
  }

  /** Shares one more region at `gpa`, behind the others, possibly adjoining. Returns its guest address. */
  addRegion(sizeBytes: number, gpa = this.endOfMemory): number {
    const { makeMemory = native.memfdCreate } = this.options
    const fd = mustSucceed('memfd_create', makeMemory(sizeBytes))
    this.memory.add(fd, gpa, sizeBytes, UVA_BASE + gpa, 0)
    this.memoryFds.push(fd)
    this.regions.push({ gpa, sizeBytes })
    try {
      if (hasBit(this.protocolFeatures, ProtocolFeature.CONFIGURE_MEM_SLOTS)) {
        this.writeRegion(SingleRegion.REGION_AT, gpa, sizeBytes)
        this.request(FrontendRequest.ADD_MEM_REG, SingleRegion.BYTES, Int32Array.of(fd))
      } else {
        this.sendMemoryTable()
      }
    } catch (error) {
      this.forgetRegion(this.regions.length - 1)
      throw error
    }
    return gpa
  }

  /** Removes the region that begins at `gpa`; no ring and no buffer in flight may lie in it. */
  removeRegion(gpa: number): void {
    const n = this.regions.findIndex((region) => region.gpa === gpa)
    if (n < 0) throw new RangeError(`no region at ${gpa}`)
    this.writeRegion(SingleRegion.REGION_AT, gpa, this.regions[n].sizeBytes)
    this.request(FrontendRequest.REM_MEM_REG, SingleRegion.BYTES)
    this.forgetRegion(n)
  }

  /** Unmaps and closes a region that the back-end does not have. */
  private forgetRegion(n: number): void {
    const [{ gpa, sizeBytes }] = this.regions.splice(n, 1)
    this.memory.remove(gpa, sizeBytes, UVA_BASE + gpa)
    native.close(this.memoryFds.splice(n, 1)[0])
  }

  /** Sends every region anew with SET_MEM_TABLE. */
  sendMemoryTable(): void {
    const { body } = this.connection
    MemoryTable.writeHeader(body, this.regions.length)
    this.regions.forEach(({ gpa, sizeBytes }, n) => {
      this.writeRegion(MemoryTable.regionAt(n), gpa, sizeBytes)
    })
    this.request(
      FrontendRequest.SET_MEM_TABLE,
      MemoryTable.regionAt(this.regions.length),
      Int32Array.from(this.memoryFds),
    )
  }

  /** Lays out a queue in guest memory, hands it to the back-end and enables it. */
  addQueue(size: number): DriverVirtqueue {
    const layout = {
      size,
      descGpa: this.allocate(descBytes(size), PAGE_BYTES),
      availGpa: this.allocate(availBytes(size), PAGE_BYTES),
      usedGpa: this.allocate(usedBytes(size), PAGE_BYTES),
    }
    const indirectGpa = hasBit(this.features, VirtioFeature.RING_INDIRECT_DESC)
      ? this.allocate(size * descBytes(size), PAGE_BYTES)
      : undefined
    const eventIdx = hasBit(this.features, VirtioFeature.RING_EVENT_IDX)
    const queue = new DriverVirtqueue(this.memory, layout, eventIdx, indirectGpa)
    this.queues.push(queue)
    this.arenaFrom = this.allocatedTo
    this.startQueue(this.queues.length - 1, 0)
    return queue
  }

  /** Hands queue `index` to the back-end, starting at index `base`. */
  startQueue(index: number, base: number): void {
    const { layout, kickFd, callFd } = this.queues[index]
    this.setState(FrontendRequest.SET_VRING_NUM, index, layout.size)
    this.setState(FrontendRequest.SET_VRING_BASE, index, base)
    this.sendAddresses(index)
    this.setU64(FrontendRequest.SET_VRING_CALL, BigInt(index), Int32Array.of(callFd))
    this.setU64(FrontendRequest.SET_VRING_KICK, BigInt(index), Int32Array.of(kickFd))
    this.setState(FrontendRequest.SET_VRING_ENABLE, index, 1)
  }

  /** Tells the back-end the ring addresses of queue `index`; also allowed while it runs. */
  sendAddresses(index: number): void {
    const { descGpa, usedGpa, availGpa } = this.queues[index].layout
    const uva = (gpa: number) => UVA_BASE + gpa
    const flags = this.logsRings ? VHOST_VRING_F_LOG : 0
    VringAddress.write(this.connection.body, index, flags, uva(descGpa), uva(usedGpa), uva(availGpa), usedGpa)
    this.request(FrontendRequest.SET_VRING_ADDR, VringAddress.BYTES)
  }

  /** Stops queue `index`. Returns the index at which the back-end stopped. */
  stopQueue(index: number): number {
    this.setState(FrontendRequest.SET_VRING_ENABLE, index, 0)
    VringState.write(this.connection.body, index, 0)
    this.send(FrontendRequest.GET_VRING_BASE, VringState.BYTES, false)
    return VringState.num(this.receive(FrontendRequest.GET_VRING_BASE).payload)
  }

  /** Reads the device's configuration space. Throws ProtocolError BAD_FRAME if the back-end refuses. */
  readConfig(offsetBytes: number, sizeBytes: number): Uint8Array {
    const totalBytes = ConfigAccess.HEADER_BYTES + sizeBytes
    ConfigAccess.writeHeader(this.connection.body, offsetBytes, sizeBytes, 0)
    this.send(FrontendRequest.GET_CONFIG, totalBytes, false)
    const { payload, payloadBytes } = this.receive(FrontendRequest.GET_CONFIG)
    if (payloadBytes !== totalBytes) throw new ProtocolError('BAD_FRAME', 'the back-end refused GET_CONFIG')
    return new Uint8Array(payload.buffer, payload.byteOffset + ConfigAccess.HEADER_BYTES, sizeBytes).slice()
  }

  setState(request: number, index: number, num: number): void {
    VringState.write(this.connection.body, index, num)
    this.request(request, VringState.BYTES)
  }

  getU64(request: number): bigint {
    this.send(request, 0, false)
    return U64.read(this.receive(request).payload)
  }

  setU64(request: number, value: bigint, fds?: Int32Array): void {
    U64.write(this.connection.body, value)
    this.request(request, U64.BYTES, fds)
  }

  /**
   * Sends the first `payloadBytes` of `connection.body`, and waits for the acknowledgement if one was negotiated.
   * Throws ProtocolError BAD_REQUEST if the back-end refuses.
   */
  request(request: number, payloadBytes: number, fds?: Int32Array): void {
    const acked = hasBit(this.protocolFeatures, ProtocolFeature.REPLY_ACK)
    this.send(request, payloadBytes, acked, fds)
    if (acked && U64.read(this.receive(request).payload) !== 0n) {
      throw new ProtocolError('BAD_REQUEST', `the back-end refused ${requestName(request)}`)
    }
  }

  send(request: number, payloadBytes: number, needReply: boolean, fds?: Int32Array): void {
    const flags = VHOST_USER_VERSION | (needReply ? VHOST_USER_NEED_REPLY_FLAG : 0)
    this.connection.send(request, flags, payloadBytes, fds)
  }

  /** Returns the reply to `request`. Throws ProtocolError BAD_FRAME if it is late or answers another request. */
  receive(request: number): Message {
    const endMs = performance.now() + this.timeoutMs
    for (;;) {
      const message = this.connection.receive()
      if (message !== undefined) {
        if (message.request !== request || message.flags !== (VHOST_USER_VERSION | VHOST_USER_REPLY_FLAG)) {
          throw new ProtocolError(
            'BAD_FRAME',
            `${requestName(message.request)} answers ${requestName(request)}`,
          )
        }
        return message
      }
      if (this.connection.closed) throw new ProtocolError('BAD_FRAME', 'the back-end closed the connection')
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new ProtocolError('BAD_FRAME', `no answer to ${requestName(request)}`)
      this.loop.wait(Math.ceil(leftMs))
    }
  }

  /** Allocates guest memory for buffers; `freeBuffers` frees all of it. Throws RangeError if there is no more. */
  allocate(lenBytes: number, alignment: number): number {
    const gpa = Math.ceil(this.allocatedTo / alignment) * alignment
    if (gpa + lenBytes > this.endOfMemory) throw new RangeError('guest memory is full')
    this.allocatedTo = gpa + lenBytes
    return gpa
  }

  /** Frees everything allocated after the last queue. */
  freeBuffers(): void {
    this.allocatedTo = this.arenaFrom
  }

  write(gpa: number, bytes: Uint8Array): Buffer {
    const at = Float64Array.of(gpa, bytes.length)
    mustSucceed('guestWrite', native.guestWrite(this.memory.id, at, 0, 1, 0, bytes.length, bytes, 0))
    return { gpa, lenBytes: bytes.length }
  }

  read(gpa: number, lenBytes: number): Uint8Array {
    const bytes = new Uint8Array(lenBytes)
    const at = Float64Array.of(gpa, lenBytes)
    mustSucceed('guestRead', native.guestRead(this.memory.id, at, 0, 1, 0, lenBytes, bytes, 0))
    return bytes
  }

  /** Disconnects. */
  close(): void {
    for (const queue of this.queues) queue.close()
    this.loop.close()
    this.connection.close()
    this.memory.destroy()
    for (const fd of this.memoryFds) native.close(fd)
  }

  /** The guest address behind the last region. */
  get endOfMemory(): number {
    return this.memory.endGpa
  }

  private writeRegion(at: number, gpa: number, sizeBytes: number): void {
    MemoryRegion.write(this.connection.body, at, gpa, sizeBytes, UVA_BASE + gpa, 0)
  }
}
