/**
 * Buckets for latencies: four in each power of two, of quarter microseconds. Their bounds hit every power of two
 * microseconds, and a bucket includes its upper bound.
 */

const PER_OCTAVE = 4
const OCTAVES = 29
const QUARTERS_PER_MS = 4000
/** 2^31 - 1 quarter microseconds are nine minutes. */
const LONGEST = 0x7fff_ffff

export const LATENCY_BUCKETS = PER_OCTAVE * (OCTAVES + 1)

/** The bucket of a latency in milliseconds. */
export function latencyBucketOf(elapsedMs: number): number {
  const quarters = Math.min(LONGEST, Math.max(0, Math.ceil(elapsedMs * QUARTERS_PER_MS) - 1))
  if (quarters < PER_OCTAVE) return quarters
  const octave = 29 - Math.clz32(quarters)
  return octave * PER_OCTAVE + (quarters >> octave)
}

/** The upper bound of a bucket in microseconds. */
export function latencyBoundUs(bucket: number): number {
  if (bucket < PER_OCTAVE) return (bucket + 1) / 4
  const octave = (bucket >> 2) - 1
  return ((PER_OCTAVE + (bucket & 3) + 1) * 2 ** octave) / 4
}
