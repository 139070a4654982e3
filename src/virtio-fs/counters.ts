import { opcodeName } from './abi.js'

/** Opcodes with their own counter. All others share the last one. */
const OPCODES = 64

/** Replies of a share by opcode. */
export interface CountsReport {
  readonly requests: Readonly<Record<string, number>>
  /** Replies with an error, including ENOENT of lookups. */
  readonly errors: Readonly<Record<string, number>>
}

/**
 * Requests and errors by opcode, always counted. The counts are in shared memory with one writer: other threads read them
 * without its help. Doubles count exactly for longer than any guest runs.
 */
export class Counters {
  private readonly requests: Float64Array
  private readonly errors: Float64Array

  /** Uses memory that another thread made, or allocates its own. */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(2 * OPCODES * 8)) {
    this.requests = new Float64Array(memory, 0, OPCODES)
    this.errors = new Float64Array(memory, OPCODES * 8, OPCODES)
  }

  asked(opcode: number): void {
    this.requests[opcode < OPCODES ? opcode : OPCODES - 1]++
  }

  failed(opcode: number): void {
    this.errors[opcode < OPCODES ? opcode : OPCODES - 1]++
  }

  report(): CountsReport {
    return { requests: byName(this.requests), errors: byName(this.errors) }
  }
}

function byName(counts: Float64Array): Record<string, number> {
  const named: Record<string, number> = {}
  counts.forEach((count, opcode) => {
    if (count > 0) named[opcodeName(opcode)] = count
  })
  return named
}
