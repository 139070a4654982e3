import type { VhostUserDevice } from '../device.js'
import { ProtocolError, StateError } from '../errors.js'
import { featureBits, hasBit, ProtocolFeature, VirtioFeature } from '../protocol.js'
import { expect, type Message } from './connection.js'
import { isMovable } from './device-state.js'
import type { HandedSession } from './handed-session.js'
import { U64 } from './wire.js'

const TRANSPORT_FEATURES = featureBits(
  VirtioFeature.VERSION_1,
  VirtioFeature.RING_EVENT_IDX,
  VirtioFeature.RING_INDIRECT_DESC,
  VirtioFeature.PROTOCOL_FEATURES,
)

const PROTOCOL_FEATURES = featureBits(
  ProtocolFeature.MQ,
  ProtocolFeature.REPLY_ACK,
  ProtocolFeature.RESET_DEVICE,
  ProtocolFeature.CONFIGURE_MEM_SLOTS,
)

/**
 * Features of a device with a configuration space. The back-end's channel serves only to report changes of that
 * space.
 */
const CONFIG_FEATURES = featureBits(ProtocolFeature.CONFIG, ProtocolFeature.BACKEND_REQ)

/** Features of a device with a state that can move. */
const MIGRATION_FEATURES = featureBits(VirtioFeature.VHOST_LOG_ALL)
const MIGRATION_PROTOCOL_FEATURES = featureBits(ProtocolFeature.LOG_SHMFD, ProtocolFeature.DEVICE_STATE)

type HandedFeatures = Pick<HandedSession, 'features' | 'protocolFeatures'>

/** The features that a session offers for its device, and those that its front-end has accepted. */
export class SessionFeatures {
  readonly offered: bigint
  readonly offeredProtocol: bigint
  private virtio = 0n
  private protocol = 0n

  constructor(device: VhostUserDevice) {
    const movable = isMovable(device)
    this.offered = TRANSPORT_FEATURES | (device.features ?? 0n) | (movable ? MIGRATION_FEATURES : 0n)
    this.offeredProtocol =
      PROTOCOL_FEATURES |
      (device.config === undefined ? 0n : CONFIG_FEATURES) |
      (movable ? MIGRATION_PROTOCOL_FEATURES : 0n)
  }

  /** True if this virtio feature was accepted. */
  has(bit: number): boolean {
    return hasBit(this.virtio, bit)
  }

  /** True if this protocol feature was accepted. */
  hasProtocol(bit: number): boolean {
    return hasBit(this.protocol, bit)
  }

  /** Throws ProtocolError if this protocol feature was not accepted. */
  need(bit: number): void {
    if (!this.hasProtocol(bit))
      throw new ProtocolError('BAD_REQUEST', `protocol feature ${bit} was not negotiated`)
  }

  /** Returns what SET_FEATURES accepts. Throws ProtocolError for features that were not offered. */
  read(message: Message): bigint {
    return readOffered(message, this.offered, 'features')
  }

  accept(features: bigint): void {
    this.virtio = features
  }

  /** Accepts what SET_PROTOCOL_FEATURES names. Throws ProtocolError for features that were not offered. */
  acceptProtocol(message: Message): void {
    this.protocol = readOffered(message, this.offeredProtocol, 'protocol features')
  }

  /** Returns what was accepted, in hexadecimal, for another process that goes on. */
  get handed(): HandedFeatures {
    return { features: this.virtio.toString(16), protocolFeatures: this.protocol.toString(16) }
  }

  /** Takes over what another process has accepted. Returns the virtio features. Throws StateError if not all are offered. */
  adopt(handed: HandedFeatures): bigint {
    this.protocol = mustBeOffered(handed.protocolFeatures, this.offeredProtocol)
    this.virtio = mustBeOffered(handed.features, this.offered)
    return this.virtio
  }
}

/** Reads the features of a message. Throws ProtocolError for those that were not offered. */
function readOffered(message: Message, offered: bigint, what: string): bigint {
  expect(message, U64.BYTES, 0)
  const features = U64.read(message.payload)
  const unknown = unknownOf(features, offered)
  if (unknown === undefined) return features
  throw new ProtocolError('BAD_PAYLOAD', `${what} ${unknown} were not offered`)
}

/** Reads what another process has accepted. Throws StateError for features that are not offered here. */
function mustBeOffered(hexadecimal: string, offered: bigint): bigint {
  const features = BigInt(`0x${hexadecimal}`)
  const unknown = unknownOf(features, offered)
  if (unknown === undefined) return features
  throw new StateError(`features ${unknown} are not offered here`)
}

/** Returns the features that were not offered, in hexadecimal; undefined if there are none. */
function unknownOf(features: bigint, offered: bigint): string | undefined {
  const unknown = features & ~offered
  return unknown === 0n ? undefined : `0x${unknown.toString(16)}`
}
