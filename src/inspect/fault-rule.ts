import { errnoNumber, Opcode } from 'virtio-fs-ts/protocol'
import { compileGlob } from '../io-mode/open-rules.js'
import type { DelaySpec, FaultSpec } from './fault-spec.js'
import { faultWords } from './fault-words.js'
import type { WatchedRequest } from './watched-request.js'

/** The state of a fault, for reports. */
export interface FaultReport {
  readonly id: number
  readonly spec: FaultSpec
  /** The number of requests the fault was applied to. */
  readonly applied: number
  readonly heldNow: number
}

/** One fault in force: chooses requests and applies the effects that need no waiting. */
export class FaultRule {
  applied = 0
  heldNow = 0
  private readonly opcodes: ReadonlySet<number> | undefined
  private readonly matchesPath: ((path: string) => boolean) | undefined
  private readonly error: number
  /** The fault in the notation of the command line. */
  readonly words: string

  /** `spec` must have been checked. */
  constructor(
    readonly id: number,
    readonly spec: FaultSpec,
  ) {
    const { opcodes, path, errno } = spec
    this.opcodes = opcodes && new Set(opcodes.map((name) => Opcode[name]))
    this.matchesPath = path === undefined ? undefined : compileGlob(path)
    this.words = faultWords(spec)
    this.error = errno === undefined ? 0 : -(errnoNumber(errno) ?? 0)
  }

  get needsPath(): boolean {
    return this.matchesPath !== undefined
  }

  /** Returns true if the fault chooses this request; `path` is the path of the request's inode or name. */
  appliesTo({ summary }: WatchedRequest, path: string | undefined): boolean {
    const { probability, limit } = this.spec
    if (limit !== undefined && this.applied >= limit) return false
    if (this.opcodes === undefined ? isForget(summary.opcode) : !this.opcodes.has(summary.opcode))
      return false
    if (this.matchesPath !== undefined && (path === undefined || !this.matchesPath(path))) return false
    return probability === undefined || Math.random() < probability
  }

  /** Applies the fault's outcome to the request. */
  apply(request: WatchedRequest): void {
    this.applied++
    request.faultId = this.id
    if (this.error !== 0) request.forcedError = this.error
    if (this.spec.shortBytes !== undefined) request.shortBytes = this.spec.shortBytes
    if (this.spec.violation !== undefined) request.violation = this.spec.violation
  }

  report(): FaultReport {
    return { id: this.id, spec: this.spec, applied: this.applied, heldNow: this.heldNow }
  }
}

function isForget(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET
}

/** Draws a delay from a distribution: milliseconds, never negative. */
export function drawDelayMs(delay: DelaySpec): number {
  if ('fixedMs' in delay) return delay.fixedMs
  if ('uniformMs' in delay)
    return delay.uniformMs[0] + Math.random() * (delay.uniformMs[1] - delay.uniformMs[0])
  if ('exponentialMs' in delay) return -delay.exponentialMs * Math.log(1 - Math.random())
  const [meanMs, deviationMs] = delay.normalMs
  const gauss = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())
  return Math.max(0, meanMs + deviationMs * gauss)
}
