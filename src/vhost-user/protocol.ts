/**
 * The vhost-user protocol's numbers, spelled as in its specification (QEMU docs/interop/vhost-user.rst).
 */

/** Requests from the front-end. */
export const FrontendRequest = Object.freeze({
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

/** Requests from the back-end, on a channel of their own. */
export const BackendRequest = Object.freeze({
  /** The front-end must read the configuration space again and notify the driver. */
  CONFIG_CHANGE_MSG: 2,
})

const requestNames = new Map<number, string>(Object.entries(FrontendRequest).map(([name, id]) => [id, name]))

/** Returns the request's name, or its number if it is unknown here. */
export function requestName(request: number): string {
  return requestNames.get(request) ?? `request ${request}`
}

/** Header flags: version 1 in the two low bits. */
export const VHOST_USER_VERSION = 1
export const VHOST_USER_VERSION_MASK = 3
export const VHOST_USER_REPLY_FLAG = 1 << 2
export const VHOST_USER_NEED_REPLY_FLAG = 1 << 3

/** Protocol features, as bit numbers. */
export const ProtocolFeature = Object.freeze({
  MQ: 0,
  LOG_SHMFD: 1,
  REPLY_ACK: 3,
  BACKEND_REQ: 5,
  CONFIG: 9,
  RESET_DEVICE: 13,
  CONFIGURE_MEM_SLOTS: 15,
  DEVICE_STATE: 19,
})

/** Virtio feature bits that belong to the transport, not to a device class, as bit numbers. */
export const VirtioFeature = Object.freeze({
  VHOST_LOG_ALL: 26,
  RING_INDIRECT_DESC: 28,
  RING_EVENT_IDX: 29,
  /** VHOST_USER_F_PROTOCOL_FEATURES: part of the protocol, never shown to the guest. */
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
})

/** Feature bits of device classes (virtio 1.3, 6): 0 to 23 and 50 to 127, as far as vhost-user's 64 bits reach. */
export const DEVICE_CLASS_FEATURES = 0xfffc_0000_00ff_ffffn

/** Returns a feature word with these bits set. */
export function featureBits(...bits: number[]): bigint {
  return bits.reduce((word, bit) => word | (1n << BigInt(bit)), 0n)
}

export function hasBit(word: bigint, bit: number): boolean {
  return ((word >> BigInt(bit)) & 1n) === 1n
}

/** The u64 of SET_VRING_KICK, CALL and ERR: the queue index, and a flag for "no descriptor, poll". */
export const VRING_INDEX_MASK = 0xff
/** The most queues that an index of 8 bits can name. */
export const MAX_QUEUES = 256
export const VRING_NOFD_MASK = 1 << 8

/** The flag of SET_VRING_ADDR: mark writes to the used ring in the dirty log, at `log_guest_addr`. */
export const VHOST_VRING_F_LOG = 1
/** Guest memory for each bit of the dirty log. */
export const VHOST_LOG_PAGE = 4096

/** The direction of SET_DEVICE_STATE_FD, and the only phase there is. */
export const VHOST_TRANSFER_STATE_DIRECTION_SAVE = 0
export const VHOST_TRANSFER_STATE_DIRECTION_LOAD = 1
export const VHOST_TRANSFER_STATE_PHASE_STOPPED = 0
/** The reply to SET_DEVICE_STATE_FD: an error in the low byte, and a flag for "no descriptor comes back". */
export const DEVICE_STATE_NOFD_MASK = 1 << 8
export const DEVICE_STATE_REFUSED = 1

/** Split virtqueue (virtio 1.3, 2.7). */
export const VRING_DESC_F_NEXT = 1
export const VRING_DESC_F_WRITE = 2
export const VRING_DESC_F_INDIRECT = 4
export const VRING_AVAIL_F_NO_INTERRUPT = 1
export const VRING_USED_F_NO_NOTIFY = 1
/** virtio 1.3, 2.7: the largest queue size. */
export const VIRTQUEUE_MAX_SIZE = 32768

/** The most regions in SET_MEM_TABLE; more need CONFIGURE_MEM_SLOTS. */
export const MEM_TABLE_MAX_REGIONS = 8
/** The most regions accepted with CONFIGURE_MEM_SLOTS: the default of a Linux vhost back-end. */
export const MAX_MEM_SLOTS = 509
/** The largest device configuration space that GET_CONFIG and SET_CONFIG carry. */
export const CONFIG_MAX_BYTES = 256

/** Returns true if the request has its own reply, not only an acknowledgement. */
export function hasOwnReply(request: number): boolean {
  switch (request) {
    case FrontendRequest.GET_FEATURES:
    case FrontendRequest.GET_PROTOCOL_FEATURES:
    case FrontendRequest.GET_QUEUE_NUM:
    case FrontendRequest.GET_MAX_MEM_SLOTS:
    case FrontendRequest.GET_VRING_BASE:
    case FrontendRequest.GET_CONFIG:
    case FrontendRequest.SET_DEVICE_STATE_FD:
    case FrontendRequest.CHECK_DEVICE_STATE:
      return true
    default:
      return false
  }
}
