import { errnoNumber, Opcode } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { nearestName } from '../basics/nearest-name.js'
import { compileGlob } from '../io-mode/open-rules.js'
import { type Violation, violations } from './watched-request.js'

/** A delay in milliseconds: fixed, or drawn anew for each request. */
export type DelaySpec =
  | { readonly fixedMs: number }
  | { readonly uniformMs: readonly [number, number] }
  | { readonly exponentialMs: number }
  | { readonly normalMs: readonly [number, number] }

/**
 * A fault: which requests it chooses, and a delay, an outcome, or both. It arrives as JSON over the control
 * socket or as words on the command line.
 */
export interface FaultSpec {
  /** Opcodes such as ["WRITE"]; undefined: every opcode but FORGET. */
  readonly opcodes?: readonly (keyof typeof Opcode)[] | undefined
  /** A glob on the path below the share. An operation on a name matches by the path of that name. */
  readonly path?: string | undefined
  /** From 0 to 1; undefined: 1. */
  readonly probability?: number | undefined
  /** The fault ends after this many requests; undefined: never. */
  readonly limit?: number | undefined
  /** Keeps requests on one inode until this many are held, or until one has been held for this long. */
  readonly hold?: { readonly until: number; readonly timeoutMs: number } | undefined
  readonly delay?: DelaySpec | undefined
  /** Fails the request with this error, given by name, without performing the operation. */
  readonly errno?: string | undefined
  /** Limits the bytes that a READ or WRITE moves. */
  readonly shortBytes?: number | undefined
  /** Sends a reply that breaks the protocol. Needs --unsafe-faults. */
  readonly violation?: Violation | undefined
}

const MAX_DELAY_MS = 3_600_000
const MAX_HELD = 65536

/** The specification is wrong; the message, one line, explains why. */
export class FaultSpecError extends Error {
  override readonly name = 'FaultSpecError'
}

/** Throws FaultSpecError. */
export function refuse(message: string): never {
  throw new FaultSpecError(message)
}

const known = new Set([
  'opcodes',
  'path',
  'probability',
  'limit',
  'hold',
  'delay',
  'errno',
  'shortBytes',
  'violation',
])

/** Checks a specification from outside. Throws FaultSpecError. */
export function checkFaultSpec(value: unknown, unsafeAllowed: boolean): FaultSpec {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refuse('a fault is an object')
  for (const key of Object.keys(value)) if (!known.has(key)) refuse(`unknown key '${key}' of a fault`)
  // The type is not yet verified: the checks below look at every field first.
  const spec = value as FaultSpec
  checkSelection(spec)
  if (spec.hold !== undefined) checkHold(spec.hold)
  if (spec.delay !== undefined) checkDelay(spec.delay)
  if (spec.errno !== undefined && errnoNumber(spec.errno) === undefined)
    refuse(`no such error: '${spec.errno}'`)
  if (spec.shortBytes !== undefined) checkNumber('short bytes', spec.shortBytes, 0, 2 ** 31, true)
  checkViolation(spec.violation, unsafeAllowed)
  const outcomes = [spec.errno, spec.shortBytes, spec.violation].filter((outcome) => outcome !== undefined)
  if (outcomes.length > 1) refuse('a fault has one of errno, shortBytes and violation')
  if (spec.hold !== undefined && spec.delay !== undefined) refuse('a fault has one of hold and delay')
  if (outcomes.length === 0 && spec.hold === undefined && spec.delay === undefined) {
    refuse('a fault needs an effect: hold, delay-ms, errno, short-bytes or violation')
  }
  return spec
}

function checkSelection({ opcodes, path, probability, limit }: FaultSpec): void {
  if (opcodes !== undefined) {
    if (!Array.isArray(opcodes) || opcodes.length === 0) refuse('opcodes is a list of names')
    for (const name of opcodes)
      if (!Object.hasOwn(Opcode, name))
        refuse(`no such opcode: '${name}'${nearestName(`${name}`, Object.keys(Opcode))}`)
  }
  if (path !== undefined) {
    if (typeof path !== 'string') refuse('path is a glob')
    try {
      compileGlob(path)
    } catch (error) {
      refuse(`bad glob '${path}': ${messageOf(error)}`)
    }
  }
  if (probability !== undefined) checkNumber('probability', probability, 0, 1, false)
  if (limit !== undefined) checkNumber('limit', limit, 1, Number.MAX_SAFE_INTEGER, true)
}

function checkHold(hold: NonNullable<FaultSpec['hold']>): void {
  if (typeof hold !== 'object' || hold === null) refuse('hold is { until, timeoutMs }')
  checkNumber('hold (until)', hold.until, 1, MAX_HELD, true)
  checkNumber('timeout of a hold (ms)', hold.timeoutMs, 0, MAX_DELAY_MS, false)
}

function checkDelay(delay: DelaySpec): void {
  if (typeof delay !== 'object' || delay === null || Object.keys(delay).length !== 1) {
    refuse('delay is one of { fixedMs }, { uniformMs }, { exponentialMs }, { normalMs }')
  }
  if ('fixedMs' in delay) checkNumber('delay (ms)', delay.fixedMs, 0, MAX_DELAY_MS, false)
  else if ('exponentialMs' in delay) checkNumber('delay (ms)', delay.exponentialMs, 0, MAX_DELAY_MS, false)
  else if ('uniformMs' in delay) checkPair('delay (ms)', delay.uniformMs)
  else if ('normalMs' in delay) checkPair('delay (ms)', delay.normalMs)
  else refuse(`unknown delay ${JSON.stringify(delay)}`)
}

function checkPair(name: string, pair: unknown): void {
  if (!Array.isArray(pair) || pair.length !== 2) refuse(`${name} is a pair of numbers`)
  for (const number of pair) checkNumber(name, number, 0, MAX_DELAY_MS, false)
}

function checkViolation(violation: unknown, unsafeAllowed: boolean): void {
  if (violation === undefined) return
  if (!violations.some((known) => known === violation)) refuse(`violation is one of ${violations.join(', ')}`)
  if (!unsafeAllowed) refuse('replies that break the protocol need --unsafe-faults')
}

function checkNumber(name: string, value: unknown, min: number, max: number, whole: boolean): void {
  if (typeof value !== 'number' || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    refuse(
      `${name} is ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, not ${JSON.stringify(value)}`,
    )
  }
}
