/**
 * Translates user or group ids between guest and host, in the notation of virtiofsd's `--translate-uid`:
 * `type:source:target:count`, given once per range. Ids outside all ranges are the same on both sides.
 */

/** Highest id. 2^32 - 1 means "none". */
const MAX_ID = 0xfffffffe
const NO_ID = 0xffffffff

interface Range {
  readonly from: number
  readonly count: number
  /** First id of the target range, or the one target of all ids with `squash`. Undefined: forbidden. */
  readonly to: number | undefined
  readonly squash: boolean
}

/** The fault in a specification, in one line. */
export class IdTranslationError extends Error {
  override readonly name = 'IdTranslationError'
}

/** An id that the guest may not use. */
export const FORBIDDEN_ID = -1

/** Translates ids of one kind, users or groups. */
export class IdTranslation {
  private readonly toHost: readonly Range[]
  private readonly toGuest: readonly Range[]

  /** Throws IdTranslationError on a wrong specification. */
  constructor(specs: readonly string[]) {
    const parsed = specs.map(parseSpec)
    this.toHost = parsed.flatMap(({ toHost }) => toHost)
    this.toGuest = parsed.flatMap(({ toGuest }) => toGuest)
    checkOverlap(this.toHost, 'guest')
    checkOverlap(this.toGuest, 'host')
  }

  /** True if nothing is translated. */
  get isIdentity(): boolean {
    return this.toHost.length === 0 && this.toGuest.length === 0
  }

  /** The host's id for a guest's id, or FORBIDDEN_ID. */
  hostId(id: number): number {
    return translate(this.toHost, id)
  }

  /** The guest's id for a host's id. */
  guestId(id: number): number {
    return translate(this.toGuest, id)
  }
}

function translate(ranges: readonly Range[], id: number): number {
  for (const { from, count, to, squash } of ranges) {
    if (id < from || id - from >= count) continue
    if (to === undefined) return FORBIDDEN_ID
    return squash ? to : to + (id - from)
  }
  return id
}

interface ParsedSpec {
  readonly toHost: readonly Range[]
  readonly toGuest: readonly Range[]
}

function parseSpec(spec: string): ParsedSpec {
  const [type, ...numbers] = spec.split(':')
  const forward = (squash: boolean) => {
    const [source, target, count] = readNumbers(spec, numbers, 3)
    return rangeOf(spec, source, target, count, squash)
  }
  const backward = () => {
    const [source, target, count] = readNumbers(spec, numbers, 3)
    return rangeOf(spec, target, source, count, false)
  }
  switch (type) {
    case 'forbid-guest': {
      const [from, count] = readNumbers(spec, numbers, 2)
      return { toHost: [rangeOf(spec, from, undefined, count, false)], toGuest: [] }
    }
    case 'guest':
      return { toHost: [forward(false)], toGuest: [] }
    case 'host':
      return { toHost: [], toGuest: [forward(false)] }
    case 'squash-guest':
      return { toHost: [forward(true)], toGuest: [] }
    case 'squash-host':
      return { toHost: [], toGuest: [forward(true)] }
    case 'map':
      return { toHost: [forward(false)], toGuest: [backward()] }
    default:
      throw new IdTranslationError(
        `'${spec}': type '${type}' is not one of guest, host, squash-guest, squash-host, forbid-guest, map`,
      )
  }
}

function readNumbers(spec: string, texts: readonly string[], wanted: number): number[] {
  if (texts.length !== wanted || !texts.every((text) => /^\d+$/.test(text))) {
    throw new IdTranslationError(
      `'${spec}': expected ${wanted} whole numbers after the type, separated by colons`,
    )
  }
  return texts.map(Number)
}

function rangeOf(spec: string, from: number, to: number | undefined, count: number, squash: boolean): Range {
  const last = Math.max(from, squash ? 0 : (to ?? 0)) + count - 1
  if (last > MAX_ID || (to ?? 0) >= NO_ID) {
    throw new IdTranslationError(`'${spec}': the range goes beyond ${MAX_ID}`)
  }
  return { from, to, count, squash }
}

function checkOverlap(ranges: readonly Range[], side: string): void {
  const sorted = [...ranges].sort((a, b) => a.from - b.from)
  for (let n = 1; n < sorted.length; n++) {
    if (sorted[n].from < sorted[n - 1].from + sorted[n - 1].count) {
      throw new IdTranslationError(`two ranges translate the ${side}'s id ${sorted[n].from}`)
    }
  }
}
