import * as native from 'virtiofsd-ts-native'
import type { VhostUserDevice } from '../device.js'
import { ProtocolError, RequestsUnderWay, StateError } from '../errors.js'
import type { FaultLog } from '../logger.js'
import type { LeftOutMarks } from '../memory/dirty-log.js'
import {
  BackendRequest,
  DEVICE_STATE_NOFD_MASK,
  DEVICE_STATE_REFUSED,
  FrontendRequest,
  hasBit,
  hasOwnReply,
  MAX_MEM_SLOTS,
  ProtocolFeature,
  requestName,
  VHOST_USER_NEED_REPLY_FLAG,
  VHOST_USER_REPLY_FLAG,
  VHOST_USER_VERSION,
  VirtioFeature,
} from '../protocol.js'
import { ringFeaturesOf } from '../rings/ring-layout.js'
import { type RingHost, RingSet } from '../rings/ring-set.js'
import type { SplitVirtqueue } from '../rings/split-virtqueue.js'
import { type Connection, expect, type Message, sendHeader } from './connection.js'
import { DeviceState, isMovable, type TransferHost } from './device-state.js'
import type { HandedConnection, HandedFds, HandedRing, HandedSession } from './handed-session.js'
import type { LentQueues } from './lent-queues.js'
import { SessionConfig } from './session-config.js'
import { SessionFeatures } from './session-features.js'
import { SessionLog } from './session-log.js'
import { SessionMemory } from './session-memory.js'
import { SessionRings } from './session-rings.js'
import { U64, VringState } from './wire.js'

/** Guest memory of more regions cannot be handed to another process. QEMU has a handful. */
const KEPT_REGIONS = 64

/** The result of `dispatch` for a request that is answered later. */
const LATER = -1

/**
 * The back-end's half of one vhost-user connection: the negotiated state, and how each request changes it. A wrong
 * request is refused and changes nothing.
 */
export class BackendSession {
  readonly rings: RingSet
  /** The messages that are about one ring. */
  readonly ringMessages: SessionRings
  private readonly features: SessionFeatures
  private backchannelFd = -1
  private readonly memory: SessionMemory
  private readonly config: SessionConfig
  private readonly dirtyLog: SessionLog
  private readonly state: DeviceState | undefined

  constructor(
    private readonly connection: Connection,
    private readonly device: VhostUserDevice,
    host: RingHost,
    private readonly faults: FaultLog,
    transfers: TransferHost,
    leftOutMarks?: LeftOutMarks,
  ) {
    const keptFds = device.suspend === undefined ? 0 : KEPT_REGIONS
    this.rings = new RingSet(
      device.queueCount,
      host,
      {
        finish: () => this.finish(),
        cancel: (queue) => this.cancelRequests(queue),
      },
      keptFds,
    )
    this.memory = new SessionMemory(this.rings)
    this.config = new SessionConfig(connection, device)
    this.dirtyLog = new SessionLog(connection, this.rings, leftOutMarks)
    this.features = new SessionFeatures(device)
    this.ringMessages = new SessionRings(connection, device, this.rings, this.features)
    if (isMovable(device))
      this.state = new DeviceState(device, connection, transfers, faults, (good) => this.answerCheck(good))
  }

  /** True if the front-end has truncated a file that it shares, and what is gone was touched. */
  get isMemoryLost(): boolean {
    return this.rings.memory.isLost || this.dirtyLog.isLost
  }

  /** Handles one request, and answers it if it wants an answer. */
  handle(message: Message): void {
    let refused = false
    let replyBytes = 0
    try {
      replyBytes = this.dispatch(message)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      refused = true
      const fields = { request: requestName(message.request), code: error.code, reason: error.message }
      this.faults.warn('vhost-user request refused', fields)
    }
    if (this.state?.isUnderWay && this.rings.vrings.some(({ queue }) => queue !== undefined))
      this.state.abort('a queue was started')
    // Evaluated only now, since the request that negotiates acknowledgements may itself want one.
    const wantsAck =
      (message.flags & VHOST_USER_NEED_REPLY_FLAG) !== 0 &&
      this.features.hasProtocol(ProtocolFeature.REPLY_ACK)
    if (replyBytes > 0) {
      this.reply(message.request, replyBytes)
    } else if (replyBytes === LATER) {
      return
    } else if (refused && this.hasOwnReply(message.request)) {
      this.replyRefusal(message.request)
    } else if (wantsAck) {
      U64.write(this.connection.body, refused ? 1n : 0n)
      this.reply(message.request, U64.BYTES)
    }
  }

  /**
   * Stops the rings as they are, and describes everything that another process needs to go on. The session keeps the
   * descriptors. `resume` undoes it. Throws StateError, and changes nothing then.
   */
  suspend(untilMs: number): HandedConnection {
    const { device, rings, connection } = this
    if (device.suspend === undefined) throw new StateError(`${device.name} cannot be handed over`)
    if (this.dirtyLog.isInUse || this.state?.isUnderWay === true)
      throw new StateError('the guest is being migrated')
    const regions = rings.memory.kept
    if (regions.some(({ fd }) => fd < 0))
      throw new StateError(`guest memory of ${regions.length} regions cannot be handed over`)
    if (!device.suspend(untilMs)) throw new RequestsUnderWay('requests under way did not end in time')
    rings.suspend()
    const { bytes, fds } = connection.received
    const handed = rings.vrings.flatMap((vring) => vring.handed ?? [])
    return {
      session: {
        ...this.features.handed,
        received: Buffer.from(bytes).toString('base64'),
        receivedFds: fds.length,
        backchannel: this.backchannelFd >= 0,
        regions: regions.map(({ fd: _, ...region }) => region),
        rings: handed.map(({ ring }) => ring),
      },
      fds: [
        connection.fd,
        ...fds,
        ...(this.backchannelFd >= 0 ? [this.backchannelFd] : []),
        ...regions.map(({ fd }) => fd),
        ...handed.flatMap((each) => each.fds),
      ],
    }
  }

  /** Starts the rings that `suspend` has stopped, here or in another process. */
  resume(): void {
    this.rings.resume()
  }

  /**
   * Takes over what another process has suspended, and owns the descriptors from then on. The rings do not run before
   * `resume`. Throws ProtocolError or RangeError for a session that cannot be.
   */
  adopt(session: HandedSession, fds: HandedFds): void {
    const { rings, connection } = this
    connection.continueWith(
      Buffer.from(session.received, 'base64'),
      Array.from({ length: session.receivedFds }, () => fds.take()),
    )
    this.backchannelFd = fds.takeIf(session.backchannel)
    for (const region of session.regions) {
      const fd = fds.take()
      try {
        rings.memory.add(fd, region.gpa, region.sizeBytes, region.uva, region.fileOffsetBytes)
      } finally {
        native.close(fd)
      }
    }
    this.use(this.features.adopt(session))
    for (const ring of session.rings) rings.at(ring.index).adopt(ring, fds)
  }

  /** Returns why no queue can be lent to another thread, or undefined if one can. */
  get whyNotLend(): string | undefined {
    const { kept } = this.rings.memory
    if (this.dirtyLog.isInUse || this.state?.isUnderWay === true) return 'the guest is being migrated'
    return kept.some(({ fd }) => fd < 0) ? `guest memory has ${kept.length} regions` : undefined
  }

  get runningQueues(): readonly number[] {
    return this.rings.vrings.filter(({ queue }) => queue !== undefined).map(({ index }) => index)
  }

  /** See Backend.lend. */
  lend(isLent: (queue: number) => boolean, untilMs: number): LentQueues | undefined {
    const { device, rings } = this
    const lent = rings.vrings.filter(({ queue, index }) => queue !== undefined && isLent(index))
    if (device.suspend?.(untilMs) !== true) return undefined
    rings.suspend()
    for (const vring of lent) vring.isLent = true
    this.resume()
    return {
      features: this.features.handed.features,
      regions: rings.memory.kept,
      rings: lent.flatMap((vring) => vring.handed ?? []),
    }
  }

  /** See Backend.takeBack. */
  takeBack(handed: readonly HandedRing[]): void {
    for (const ring of handed) this.rings.at(ring.index).takeBack(ring)
    this.resume()
  }

  /** Has the device complete the requests that do not need Node's event loop. */
  drain(): void {
    this.device.drain?.()
  }

  /** Also finishes the calls that only the kernel can finish: it may be writing to the guest's memory. */
  private finish(): void {
    this.drain()
    this.device.io?.drain()
  }

  /** Has the device answer the requests in flight at once. */
  cancelRequests(queue: SplitVirtqueue): void {
    for (const chain of queue.inFlightChains) {
      chain.abort()
      if (chain.isOpen) this.device.cancel?.(chain)
    }
  }

  /** Tells the front-end that the configuration space has changed. Returns false if it cannot be told. */
  notifyConfigChange(): boolean {
    if (this.backchannelFd < 0 || !this.features.hasProtocol(ProtocolFeature.CONFIG)) return false
    return sendHeader(this.backchannelFd, BackendRequest.CONFIG_CHANGE_MSG)
  }

  /** Stops everything and releases every descriptor and mapping. */
  close(): void {
    try {
      this.state?.abort('the front-end has left')
      this.rings.stopAll()
      this.device.reset?.()
    } finally {
      // This also runs if the device fails.
      this.dirtyLog.close()
      this.rings.close()
      if (this.backchannelFd >= 0) native.close(this.backchannelFd)
      this.backchannelFd = -1
    }
  }

  /** Returns the size of the reply in `connection.body`, 0 for a request without one. */
  private dispatch(message: Message): number {
    switch (message.request) {
      case FrontendRequest.GET_FEATURES:
        return this.getU64(message, this.features.offered)
      case FrontendRequest.SET_FEATURES:
        return this.setFeatures(message)
      case FrontendRequest.GET_PROTOCOL_FEATURES:
        return this.getU64(message, this.features.offeredProtocol)
      case FrontendRequest.SET_PROTOCOL_FEATURES:
        this.features.acceptProtocol(message)
        return 0
      case FrontendRequest.GET_QUEUE_NUM:
        return this.getU64(message, BigInt(this.rings.vrings.length))
      case FrontendRequest.GET_MAX_MEM_SLOTS:
        return this.getU64(message, BigInt(MAX_MEM_SLOTS))
      case FrontendRequest.SET_OWNER:
        expect(message, 0, 0)
        return 0
      case FrontendRequest.RESET_OWNER:
      case FrontendRequest.RESET_DEVICE:
        return this.resetDevice(message)
      case FrontendRequest.SET_BACKEND_REQ_FD:
        return this.setBackchannel(message)
      case FrontendRequest.SET_MEM_TABLE:
        this.memory.setTable(message)
        return 0
      case FrontendRequest.ADD_MEM_REG:
        this.features.need(ProtocolFeature.CONFIGURE_MEM_SLOTS)
        this.memory.add(message)
        return 0
      case FrontendRequest.REM_MEM_REG:
        this.features.need(ProtocolFeature.CONFIGURE_MEM_SLOTS)
        this.memory.remove(message)
        return 0
      case FrontendRequest.SET_VRING_NUM:
        return this.ringMessages.setSize(message)
      case FrontendRequest.SET_VRING_BASE:
        return this.ringMessages.setBase(message)
      case FrontendRequest.GET_VRING_BASE:
        return this.ringMessages.getBase(message)
      case FrontendRequest.SET_VRING_ADDR:
        return this.ringMessages.setAddresses(message)
      case FrontendRequest.SET_VRING_ENABLE:
        return this.ringMessages.setEnable(message)
      case FrontendRequest.SET_VRING_KICK:
        return this.ringMessages.setKick(message)
      case FrontendRequest.SET_VRING_CALL:
        return this.ringMessages.setCall(message)
      case FrontendRequest.SET_VRING_ERR:
        return this.ringMessages.setErr(message)
      case FrontendRequest.SET_LOG_BASE:
        return this.setLogBase(message)
      case FrontendRequest.SET_LOG_FD:
        this.features.need(ProtocolFeature.LOG_SHMFD)
        this.dirtyLog.setFd(message)
        return 0
      case FrontendRequest.SET_DEVICE_STATE_FD:
        return this.startTransfer(message)
      case FrontendRequest.CHECK_DEVICE_STATE:
        return this.checkTransfer(message)
      case FrontendRequest.GET_CONFIG:
        return this.config.get(message)
      case FrontendRequest.SET_CONFIG:
        this.config.set(message)
        return 0
      default:
        throw new ProtocolError('BAD_REQUEST', `request ${message.request} is unknown`)
    }
  }

  private reply(request: number, payloadBytes: number): void {
    this.connection.send(request, VHOST_USER_VERSION | VHOST_USER_REPLY_FLAG, payloadBytes)
  }

  /** Replies even to a wrong request if the request always has a reply: the front-end waits for it. */
  private replyRefusal(request: number): void {
    const { body } = this.connection
    if (request === FrontendRequest.GET_VRING_BASE) VringState.write(body, 0, 0)
    else U64.write(body, refusalOf(request))
    this.reply(request, request === FrontendRequest.GET_CONFIG ? 0 : U64.BYTES)
  }

  private getU64(message: Message, value: bigint): number {
    expect(message, 0, 0)
    U64.write(this.connection.body, value)
    return U64.BYTES
  }

  private setFeatures(message: Message): number {
    const features = this.features.read(message)
    const didLog = this.dirtyLog.logsAll
    this.dirtyLog.setAll(hasBit(features, VirtioFeature.VHOST_LOG_ALL))
    if (this.dirtyLog.logsAll !== didLog) this.device.prepareState?.(!didLog)
    this.features.accept(features)
    this.use(features)
    // Without protocol features there is no SET_VRING_ENABLE: rings are enabled from the start.
    if (!hasBit(features, VirtioFeature.PROTOCOL_FEATURES))
      for (const vring of this.rings.vrings) vring.enabled = true
    return 0
  }

  private use(features: bigint): void {
    this.rings.features = ringFeaturesOf(features)
    this.device.acceptFeatures?.(features)
  }

  /** Keeps memory, protocol features and the call and error descriptors: the front-end does not send them again. */
  private resetDevice(message: Message): number {
    expect(message, 0, 0)
    this.state?.abort('the device was reset')
    this.rings.stopAll()
    for (const vring of this.rings.vrings) vring.reset()
    this.device.reset?.()
    return 0
  }

  private setBackchannel(message: Message): number {
    this.features.need(ProtocolFeature.BACKEND_REQ)
    expect(message, 0, 1)
    if (this.backchannelFd >= 0) native.close(this.backchannelFd)
    this.backchannelFd = this.connection.takeFd(message, 0)
    return 0
  }

  private setLogBase(message: Message): number {
    this.features.need(ProtocolFeature.LOG_SHMFD)
    this.dirtyLog.setBase(message)
    U64.write(this.connection.body, 0n)
    return U64.BYTES
  }

  private startTransfer(message: Message): number {
    const state = this.movable()
    const running = this.rings.vrings.find(({ queue }) => queue !== undefined)
    if (running !== undefined) throw new ProtocolError('BAD_REQUEST', `queue ${running.index} is running`)
    state.start(message)
    U64.write(this.connection.body, BigInt(DEVICE_STATE_NOFD_MASK))
    return U64.BYTES
  }

  private checkTransfer(message: Message): number {
    const good = this.movable().check(message)
    return good === undefined ? LATER : this.writeCheck(good)
  }

  private answerCheck(good: boolean): void {
    this.reply(FrontendRequest.CHECK_DEVICE_STATE, this.writeCheck(good))
  }

  private writeCheck(good: boolean): number {
    U64.write(this.connection.body, good ? 0n : 1n)
    return U64.BYTES
  }

  /** Returns the transfers of a device that has a state. */
  private movable(): DeviceState {
    this.features.need(ProtocolFeature.DEVICE_STATE)
    if (this.state === undefined)
      throw new ProtocolError('BAD_REQUEST', 'this device has no state to transfer')
    return this.state
  }

  private hasOwnReply(request: number): boolean {
    if (request !== FrontendRequest.SET_LOG_BASE) return hasOwnReply(request)
    return this.features.hasProtocol(ProtocolFeature.LOG_SHMFD)
  }
}

/** The u64 that refuses a request with a reply of its own. */
function refusalOf(request: number): bigint {
  switch (request) {
    case FrontendRequest.SET_LOG_BASE:
    case FrontendRequest.CHECK_DEVICE_STATE:
      return 1n
    case FrontendRequest.SET_DEVICE_STATE_FD:
      return BigInt(DEVICE_STATE_NOFD_MASK | DEVICE_STATE_REFUSED)
    default:
      return 0n
  }
}
