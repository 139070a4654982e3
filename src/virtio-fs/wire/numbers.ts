/** 64-bit numbers of FUSE structs, little endian. */

const MAX_SAFE_HIGH = 0x1fffff

/** Reads a u64. Returns -1 if a Number cannot hold it exactly. */
export function readSafeU64(v: DataView, at: number): number {
  const high = v.getUint32(at + 4, true)
  return high > MAX_SAFE_HIGH ? -1 : high * 0x1_0000_0000 + v.getUint32(at, true)
}

/** Reads an i64. Returns NaN if a Number cannot hold it exactly. */
export function readSafeI64(v: DataView, at: number): number {
  const value = readRoundedI64(v, at)
  return Number.isSafeInteger(value) ? value : Number.NaN
}

/** Reads an i64. Returns the Number that is closest to it. */
export function readRoundedI64(v: DataView, at: number): number {
  return v.getInt32(at + 4, true) * 0x1_0000_0000 + v.getUint32(at, true)
}

export function writeU64(v: DataView, at: number, value: number): void {
  v.setUint32(at, value % 0x1_0000_0000, true)
  v.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true)
}

/** Writes the same number to words, from word `w` on. */
export function writeWords(words: Int32Array, w: number, value: number): void {
  words[w] = value % 0x1_0000_0000
  words[w + 1] = Math.floor(value / 0x1_0000_0000)
}

/** Writes a time-out: two words of seconds, and one of nanoseconds at another place. */
export function writeTimeout(words: Int32Array, secAt: number, nsecAt: number, seconds: number): void {
  const whole = Math.floor(seconds)
  words[secAt] = whole
  words[secAt + 1] = 0
  words[nsecAt] = Math.round((seconds - whole) * 1e9)
}
