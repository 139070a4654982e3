import type { Rate } from './token-bucket.js'

/** A limit is not written as it should be. */
export class LimitError extends Error {
  override readonly name = 'LimitError'
}

/** The limits of a share in a second. Undefined: no limit. Bytes of reads and of writes are counted apart. */
export interface RateLimits {
  readonly iops: Rate | undefined
  readonly readBytes: Rate | undefined
  readonly writeBytes: Rate | undefined
}

export const noRateLimits: RateLimits = { iops: undefined, readBytes: undefined, writeBytes: undefined }

/** The burst, unless one is given, as a part of what passes in a second. */
const DEFAULT_BURST = 0.1
/** Above it, a Number would not count single bytes. */
const MOST = 2 ** 50

const factors: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/** Reads `N[:BURST]`, requests in a second; "none" is no limit. Throws LimitError. */
export function parseIops(text: string): Rate | undefined {
  return orNone(text, (rate) => parseRate(rate, (part) => parseCount(part, 'requests')))
}

/** Reads `RATE[:BURST][/RATE[:BURST]]`, bytes in a second of reads and of writes; one rate is for each. Throws LimitError. */
export function parseBandwidth(text: string): Pick<RateLimits, 'readBytes' | 'writeBytes'> {
  const parts = text.split('/')
  const [reads = '', writes = reads] = parts
  if (parts.length > 2) throw new LimitError(`'${text}' has more than two parts: READS/WRITES`)
  const rateOf = (part: string) => parseRate(part, parseBytes)
  return { readBytes: orNone(reads, rateOf), writeBytes: orNone(writes, rateOf) }
}

/** Reads a number of bytes: `N`, or with K, M, G or T, which are powers of 1024. Throws LimitError. */
export function parseBytes(text: string): number {
  const [, digits, unit = ''] = /^(\d+)([KMGT]?)$/i.exec(text) ?? []
  const bytes = Number(digits) * (factors[unit.toUpperCase()] ?? Number.NaN)
  if (!(bytes > 0 && bytes <= MOST))
    throw new LimitError(`'${text}' is not a number of bytes, such as 500K, 20M or 1G`)
  return bytes
}

/** Reads a number of bytes, or "none". Throws LimitError. */
export function parseQuotaBytes(text: string): number | undefined {
  return orNone(text, parseBytes)
}

/** Reads a number of files, or "none". Throws LimitError. */
export function parseQuotaInodes(text: string): number | undefined {
  return orNone(text, (digits) => parseCount(digits, 'files'))
}

function orNone<Value>(text: string, parse: (text: string) => Value): Value | undefined {
  return text === 'none' ? undefined : parse(text)
}

function parseCount(text: string, what: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0
  if (!(count > 0 && count <= MOST)) throw new LimitError(`'${text}' is not a number of ${what} from 1 on`)
  return count
}

function parseRate(text: string, parse: (part: string) => number): Rate {
  const parts = text.split(':')
  const [rate = '', burst] = parts
  if (parts.length > 2) throw new LimitError(`'${text}' has more than two parts: RATE:BURST`)
  const perSecond = parse(rate)
  return { perSecond, burst: burst === undefined ? Math.max(1, perSecond * DEFAULT_BURST) : parse(burst) }
}

/** The limits as the options would give them. */
export function iopsWords({ iops }: RateLimits): string {
  return wordsOf(iops)
}

export function bandwidthWords({ readBytes, writeBytes }: RateLimits): string {
  const [reads, writes] = [wordsOf(readBytes), wordsOf(writeBytes)]
  return reads === writes ? reads : `${reads}/${writes}`
}

function wordsOf(rate: Rate | undefined): string {
  return rate === undefined ? 'none' : `${rate.perSecond}:${Math.ceil(rate.burst)}`
}
