import { opcodeName } from './abi.js'

/** Opcodes that are counted one by one; all others share the last place. */
const OPCODES = 64

/** What a share has answered, by opcode. */
export interface CountsReport {
  readonly requests: Readonly<Record<string, number>>
  /** Replies with an error; ENOENT of a lookup is one. */
  readonly errors: Readonly<Record<string, number>>
}

/**
 * Counts that are always kept: requests and errors by opcode. In shared memory, with one writer: another thread reads them
 * without the writer's knowing. Doubles, which count exactly for longer than any guest lives.
 */
export class Counters {
  private readonly requests: Float64Array
  private readonly errors: Float64Array

  /** On memory that another thread made, or memory of its own. */
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
