/** INIT. Little endian for every guest (virtio 1). */

/** fuse_init_in: 16 bytes, 64 with INIT_EXT. */
export const InitIn = Object.freeze({
  BYTES: 16,
  EXT_BYTES: 20,
  major: (v: DataView, at: number) => v.getUint32(at, true),
  minor: (v: DataView, at: number) => v.getUint32(at + 4, true),
  maxReadaheadBytes: (v: DataView, at: number) => v.getUint32(at + 8, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 12, true),
  flags2: (v: DataView, at: number) => v.getUint32(at + 16, true),
})

/** fuse_init_out: 64 bytes. */
export const InitOut = Object.freeze({
  BYTES: 64,
  write(v: DataView, at: number, init: InitReply) {
    v.setUint32(at, init.major, true)
    v.setUint32(at + 4, init.minor, true)
    v.setUint32(at + 8, init.maxReadaheadBytes, true)
    v.setUint32(at + 12, Number(init.flags & 0xffffffffn), true)
    v.setUint16(at + 16, init.maxBackground, true)
    v.setUint16(at + 18, init.congestionThreshold, true)
    v.setUint32(at + 20, init.maxWriteBytes, true)
    v.setUint32(at + 24, init.timeGranNs, true)
    v.setUint16(at + 28, init.maxPages, true)
    v.setUint16(at + 30, 0, true)
    v.setUint32(at + 32, Number(init.flags >> 32n), true)
    for (let rest = at + 36; rest < at + 64; rest += 4) v.setUint32(rest, 0, true)
  },
  major: (v: DataView, at: number) => v.getUint32(at, true),
  minor: (v: DataView, at: number) => v.getUint32(at + 4, true),
  maxReadaheadBytes: (v: DataView, at: number) => v.getUint32(at + 8, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 12, true),
  maxBackground: (v: DataView, at: number) => v.getUint16(at + 16, true),
  congestionThreshold: (v: DataView, at: number) => v.getUint16(at + 18, true),
  maxWriteBytes: (v: DataView, at: number) => v.getUint32(at + 20, true),
  timeGranNs: (v: DataView, at: number) => v.getUint32(at + 24, true),
  maxPages: (v: DataView, at: number) => v.getUint16(at + 28, true),
  flags2: (v: DataView, at: number) => v.getUint32(at + 32, true),
})

/** The contents of an INIT reply. */
export interface InitReply {
  readonly major: number
  readonly minor: number
  readonly maxReadaheadBytes: number
  readonly flags: bigint
  readonly maxBackground: number
  readonly congestionThreshold: number
  readonly maxWriteBytes: number
  readonly timeGranNs: number
  readonly maxPages: number
}
