/**
 * Message layouts: the offset of each field, with reading and writing side by side. Little endian, as on every
 * supported host (vhost-user uses the host's byte order).
 */

const MAX_SAFE_HIGH = 0x1fffff

/** Reads a u64. Returns -1 if a Number cannot hold it exactly. */
export function readSafeU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true)
  return high > MAX_SAFE_HIGH ? -1 : high * 0x1_0000_0000 + view.getUint32(at, true)
}

export function writeSafeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true)
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}

/** Message header: request, flags, payload size in bytes. 12 bytes. */
export const MessageHeader = Object.freeze({
  BYTES: 12,
  request: (v: DataView) => v.getUint32(0, true),
  flags: (v: DataView) => v.getUint32(4, true),
  payloadBytes: (v: DataView) => v.getUint32(8, true),
  write(v: DataView, request: number, flags: number, payloadBytes: number) {
    v.setUint32(0, request, true)
    v.setUint32(4, flags, true)
    v.setUint32(8, payloadBytes, true)
  },
})

/** u64 payload: features, acknowledgements, descriptor messages. 8 bytes. */
export const U64 = Object.freeze({
  BYTES: 8,
  read: (v: DataView) => v.getBigUint64(0, true),
  write: (v: DataView, value: bigint) => v.setBigUint64(0, value, true),
})

/** vhost_vring_state: queue index and a number. 8 bytes. */
export const VringState = Object.freeze({
  BYTES: 8,
  index: (v: DataView) => v.getUint32(0, true),
  num: (v: DataView) => v.getUint32(4, true),
  write(v: DataView, index: number, num: number) {
    v.setUint32(0, index, true)
    v.setUint32(4, num, true)
  },
})

/** vhost_vring_addr: index, flags, and four front-end user addresses (uva), -1 beyond 2^53. 40 bytes. */
export const VringAddress = Object.freeze({
  BYTES: 40,
  index: (v: DataView) => v.getUint32(0, true),
  flags: (v: DataView) => v.getUint32(4, true),
  descUva: (v: DataView) => readSafeU64(v, 8),
  usedUva: (v: DataView) => readSafeU64(v, 16),
  availUva: (v: DataView) => readSafeU64(v, 24),
  /** Guest address of the used ring, with VHOST_VRING_F_LOG. */
  logGpa: (v: DataView) => readSafeU64(v, 32),
  write(
    v: DataView,
    index: number,
    flags: number,
    descUva: number,
    usedUva: number,
    availUva: number,
    logGpa = 0,
  ) {
    v.setUint32(0, index, true)
    v.setUint32(4, flags, true)
    writeSafeU64(v, 8, descUva)
    writeSafeU64(v, 16, usedUva)
    writeSafeU64(v, 24, availUva)
    writeSafeU64(v, 32, logGpa)
  },
})

/** A memory region, at byte `at`: guest address, size, front-end user address, offset in the file; -1 beyond 2^53. */
export const MemoryRegion = Object.freeze({
  BYTES: 32,
  gpa: (v: DataView, at: number) => readSafeU64(v, at),
  sizeBytes: (v: DataView, at: number) => readSafeU64(v, at + 8),
  uva: (v: DataView, at: number) => readSafeU64(v, at + 16),
  fileOffsetBytes: (v: DataView, at: number) => readSafeU64(v, at + 24),
  write(v: DataView, at: number, gpa: number, sizeBytes: number, uva: number, fileOffsetBytes: number) {
    writeSafeU64(v, at, gpa)
    writeSafeU64(v, at + 8, sizeBytes)
    writeSafeU64(v, at + 16, uva)
    writeSafeU64(v, at + 24, fileOffsetBytes)
  },
})

/** SET_MEM_TABLE: number of regions, padding, regions. 8 + 32 n bytes. */
export const MemoryTable = Object.freeze({
  HEADER_BYTES: 8,
  regionCount: (v: DataView) => v.getUint32(0, true),
  regionAt: (n: number) => 8 + n * MemoryRegion.BYTES,
  writeHeader(v: DataView, regionCount: number) {
    v.setUint32(0, regionCount, true)
    v.setUint32(4, 0, true)
  },
})

/** ADD_MEM_REG and REM_MEM_REG: padding, one region. 40 bytes. */
export const SingleRegion = Object.freeze({ BYTES: 40, REGION_AT: 8 })

/** GET_CONFIG and SET_CONFIG: offset, size, flags, then `size` bytes. 12 + size bytes. */
export const ConfigAccess = Object.freeze({
  HEADER_BYTES: 12,
  offsetBytes: (v: DataView) => v.getUint32(0, true),
  sizeBytes: (v: DataView) => v.getUint32(4, true),
  flags: (v: DataView) => v.getUint32(8, true),
  writeHeader(v: DataView, offsetBytes: number, sizeBytes: number, flags: number) {
    v.setUint32(0, offsetBytes, true)
    v.setUint32(4, sizeBytes, true)
    v.setUint32(8, flags, true)
  },
})

/** SET_LOG_BASE: the size of the log and its offset in the file, in bytes; -1 beyond 2^53. 16 bytes. */
export const LogBase = Object.freeze({
  BYTES: 16,
  sizeBytes: (v: DataView) => readSafeU64(v, 0),
  fileOffsetBytes: (v: DataView) => readSafeU64(v, 8),
  write(v: DataView, sizeBytes: number, fileOffsetBytes: number) {
    writeSafeU64(v, 0, sizeBytes)
    writeSafeU64(v, 8, fileOffsetBytes)
  },
})

/** SET_DEVICE_STATE_FD: direction and phase. 8 bytes. */
export const DeviceStateTransfer = Object.freeze({
  BYTES: 8,
  direction: (v: DataView) => v.getUint32(0, true),
  phase: (v: DataView) => v.getUint32(4, true),
  write(v: DataView, direction: number, phase: number) {
    v.setUint32(0, direction, true)
    v.setUint32(4, phase, true)
  },
})
