import * as native from 'virtiofsd-ts-native'
import type { VhostUserDevice } from '../device.js'
import { ProtocolError } from '../errors.js'
import {
  FrontendRequest,
  ProtocolFeature,
  VHOST_VRING_F_LOG,
  VirtioFeature,
  VRING_INDEX_MASK,
  VRING_NOFD_MASK,
} from '../protocol.js'
import type { RingAddresses } from '../rings/ring-layout.js'
import type { RingSet } from '../rings/ring-set.js'
import type { Vring } from '../rings/vring.js'
import { type Connection, expect, type Message } from './connection.js'
import type { SessionFeatures } from './session-features.js'
import { U64, VringAddress, VringState } from './wire.js'

const DEFAULT_MAX_QUEUE_SIZE = 1024

/**
 * The messages that are about one ring: SET_VRING_* and GET_VRING_BASE. Each method handles one of them, and returns the
 * size of its reply in `connection.body`, 0 for none. It throws ProtocolError for a wrong message, and changes nothing then.
 */
export class SessionRings {
  constructor(
    private readonly connection: Connection,
    private readonly device: VhostUserDevice,
    private readonly rings: RingSet,
    private readonly features: SessionFeatures,
  ) {}

  setSize(message: Message): number {
    const vring = this.stoppedRing(message)
    const size = VringState.num(message.payload)
    const max = this.device.maxQueueSize ?? DEFAULT_MAX_QUEUE_SIZE
    if (size === 0 || size > max || (size & (size - 1)) !== 0) {
      throw new ProtocolError('BAD_PAYLOAD', `queue size ${size} is not a power of two up to ${max}`)
    }
    vring.size = size
    return 0
  }

  setBase(message: Message): number {
    const vring = this.stoppedRing(message)
    const base = VringState.num(message.payload)
    if (base > 0xffff) throw new ProtocolError('BAD_PAYLOAD', `ring index ${base} is over 65535`)
    vring.base = base
    return 0
  }

  getBase(message: Message): number {
    expect(message, VringState.BYTES, 0)
    const vring = this.rings.at(VringState.index(message.payload))
    this.rings.stop(vring)
    vring.setKick(-1)
    VringState.write(this.connection.body, vring.index, vring.base)
    return VringState.BYTES
  }

  /**
   * On a running ring only the addresses change; the indices stay. A message that only begins or ends the marks of the
   * used ring does not even stop it.
   */
  setAddresses(message: Message): number {
    expect(message, VringAddress.BYTES, 0)
    const { payload } = message
    const vring = this.rings.at(VringAddress.index(payload))
    const flags = VringAddress.flags(payload)
    if ((flags & ~VHOST_VRING_F_LOG) !== 0)
      throw new ProtocolError('BAD_PAYLOAD', `ring flags ${flags} are unknown`)
    const logged = (flags & VHOST_VRING_F_LOG) !== 0
    if (logged) this.features.need(ProtocolFeature.LOG_SHMFD)
    const logGpa = logged ? VringAddress.logGpa(payload) : -1
    if (logged && logGpa < 0) throw new ProtocolError('BAD_PAYLOAD', 'log address is over 2^53')
    const addresses = addressesOf(payload)
    if (isSame(vring.addresses, addresses)) this.rings.logUsedRing(vring, logGpa)
    else this.rings.change(vring, { addresses, logGpa })
    return 0
  }

  setEnable(message: Message): number {
    expect(message, VringState.BYTES, 0)
    if (!this.features.has(VirtioFeature.PROTOCOL_FEATURES)) {
      throw new ProtocolError('BAD_REQUEST', 'protocol features were not acknowledged with SET_FEATURES')
    }
    const vring = this.rings.at(VringState.index(message.payload))
    const num = VringState.num(message.payload)
    if (num > 1) throw new ProtocolError('BAD_PAYLOAD', `enable is ${num}, not 0 or 1`)
    const enabled = num === 1
    if (vring.enabled !== enabled) this.rings.change(vring, { enabled })
    return 0
  }

  setKick(message: Message): number {
    return this.setFd(message, (vring, fd) => this.replaceKick(vring, fd))
  }

  setCall(message: Message): number {
    return this.setFd(message, (vring, fd) => this.replaceCall(vring, fd))
  }

  setErr(message: Message): number {
    return this.setFd(message, (vring, fd) => vring.setErr(fd))
  }

  /** Returns the running rings that this request stops, if only for a moment. Empty for a malformed request. */
  stoppedBy({ request, payload, payloadBytes }: Message): readonly Vring[] {
    const { vrings } = this.rings
    const running = vrings.filter(({ queue }) => queue !== undefined)
    switch (request) {
      case FrontendRequest.SET_MEM_TABLE:
      case FrontendRequest.REM_MEM_REG:
        return running
      case FrontendRequest.SET_VRING_ADDR:
        return running.filter(
          ({ index, addresses }) =>
            payloadBytes === VringAddress.BYTES &&
            VringAddress.index(payload) === index &&
            !isSame(addresses, addressesOf(payload)),
        )
      case FrontendRequest.GET_VRING_BASE:
      case FrontendRequest.SET_VRING_ENABLE:
      case FrontendRequest.SET_VRING_KICK: {
        if (payloadBytes < U64.BYTES) return []
        // Each of these requests begins with the queue's index; SET_VRING_KICK adds a flag.
        const index = VringState.index(payload) & VRING_INDEX_MASK
        if (request === FrontendRequest.SET_VRING_ENABLE && VringState.num(payload) !== 0) return []
        return running.filter((vring) => vring.index === index)
      }
      default:
        return []
    }
  }

  private replaceKick(vring: Vring, fd: number): void {
    const before = vring.kickFd
    this.rings.change(vring, { kickFd: fd })
    if (before >= 0) native.close(before)
  }

  /** Nobody may have read the last signal by the descriptor before, so the new one is signalled, as libvhost-user does. */
  private replaceCall(vring: Vring, fd: number): void {
    vring.setCall(fd)
    if (vring.queue !== undefined) vring.signal(0)
  }

  private setFd(message: Message, take: (vring: Vring, fd: number) => void): number {
    if (message.payloadBytes !== U64.BYTES) expect(message, U64.BYTES, message.fds.length)
    const word = U64.read(message.payload)
    const vring = this.rings.at(Number(word & BigInt(VRING_INDEX_MASK)))
    const noFd = (word & BigInt(VRING_NOFD_MASK)) !== 0n
    expect(message, U64.BYTES, noFd ? 0 : 1)
    take(vring, noFd ? -1 : message.fds[0])
    // Taken only now: the connection closes the descriptor of a refused message.
    if (!noFd) this.connection.takeFd(message, 0)
    return 0
  }

  /** Returns the ring of a message whose setting cannot change while the ring runs. */
  private stoppedRing(message: Message): Vring {
    expect(message, VringState.BYTES, 0)
    const vring = this.rings.at(VringState.index(message.payload))
    if (vring.queue !== undefined) throw new ProtocolError('BAD_REQUEST', `queue ${vring.index} is running`)
    return vring
  }
}

function addressesOf(payload: DataView): RingAddresses {
  return {
    descUva: VringAddress.descUva(payload),
    availUva: VringAddress.availUva(payload),
    usedUva: VringAddress.usedUva(payload),
  }
}

function isSame(a: RingAddresses | undefined, b: RingAddresses): boolean {
  return a?.descUva === b.descUva && a.availUva === b.availUva && a.usedUva === b.usedUva
}
