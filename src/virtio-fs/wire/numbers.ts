/** 64-bit numbers of FUSE structs, little endian. */

const MAX_SAFE_HIGH = 0x1fffff

/** A u64 that a Number holds exactly, or -1. */
export function readSafeU64(v: DataView, at: number): number {
  const high = v.getUint32(at + 4, true)
  return high > MAX_SAFE_HIGH ? -1 : high * 0x1_0000_0000 + v.getUint32(at, true)
}

/** An i64 that a Number holds exactly, or NaN. */
export function readSafeI64(v: DataView, at: number): number {
  const value = v.getInt32(at + 4, true) * 0x1_0000_0000 + v.getUint32(at, true)
  return Number.isSafeInteger(value) ? value : Number.NaN
}

export function writeU64(v: DataView, at: number, value: number): void {
  v.setUint32(at, value % 0x1_0000_0000, true)
  v.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}

/** The same into words, from word `w` on. */
export function writeWords(words: Int32Array, w: number, value: number): void {
  words[w] = value % 0x1_0000_0000
  words[w + 1] = Math.floor(value / 0x1_0000_0000)
}

/** A time-out: two words of seconds, and one of nanoseconds elsewhere. */
export function writeTimeout(words: Int32Array, secAt: number, nsecAt: number, seconds: number): void {
  const whole = Math.floor(seconds)
  words[secAt] = whole
  words[secAt + 1] = 0
  words[nsecAt] = Math.round((seconds - whole) * 1e9)
}
