import type { Random } from '../support/random.js'

/**
 * An input is a row of records, each for one message or request. Records can be removed or inserted without changing
 * others.
 */
export const RECORD_BYTES = 48
const MAX_RECORDS = 256
/** The number of records in a wholly random input. */
const FRESH_RECORDS = 64

export function* recordsOf(input: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < input.length; at += RECORD_BYTES) yield input.subarray(at, at + RECORD_BYTES)
}

export function randomInput(random: Random): Uint8Array {
  const records = 1 + random.below(FRESH_RECORDS)
  return Uint8Array.from({ length: records * RECORD_BYTES }, () => random.below(256))
}

/** Returns a changed copy of `parent`, with pieces of `other`. */
export function mutate(random: Random, parent: Uint8Array, other: Uint8Array): Uint8Array {
  let child: Uint8Array = Uint8Array.from(parent)
  for (let n = 1 + random.below(8); n > 0; n--) child = changed(random, child, other)
  const whole = child.length - (child.length % RECORD_BYTES)
  return child.subarray(0, Math.min(whole, MAX_RECORDS * RECORD_BYTES))
}

function changed(random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  const records = bytes.length / RECORD_BYTES
  const cut = () => random.below(records + 1) * RECORD_BYTES
  const at = random.below(bytes.length)
  switch (random.below(8)) {
    case 0:
      bytes[at] ^= 1 << random.below(8)
      return bytes
    case 1:
      bytes[at] = random.below(256)
      return bytes
    case 2:
      bytes[at] = random.pick([0, 1, 127, 128, 254, 255])
      return bytes
    case 3: {
      const record = bytes.subarray(at - (at % RECORD_BYTES)).subarray(0, RECORD_BYTES)
      for (let n = 0; n < record.length; n++) record[n] = random.below(256)
      return bytes
    }
    case 4: {
      // Repeats a row of records.
      const [from, to] = [cut(), cut()].sort((a, b) => a - b)
      return join(bytes.subarray(0, to), bytes.subarray(from, to), bytes.subarray(to))
    }
    case 5: {
      const from = cut()
      const to = from + RECORD_BYTES * (1 + random.below(4))
      const rest = join(bytes.subarray(0, from), bytes.subarray(to))
      return rest.length > 0 ? rest : bytes
    }
    case 6:
      return join(
        bytes.subarray(0, cut()),
        other.subarray(random.below(other.length / RECORD_BYTES) * RECORD_BYTES),
      )
    default: {
      const from = random.below(other.length / RECORD_BYTES) * RECORD_BYTES
      const to = cut()
      return join(bytes.subarray(0, to), other.subarray(from, from + RECORD_BYTES), bytes.subarray(to))
    }
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = Uint8Array.from(Buffer.concat(parts))
  return joined.subarray(0, MAX_RECORDS * RECORD_BYTES)
}
