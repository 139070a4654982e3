import type { Phase } from './scene.js'

export type Verdict = 'as expected' | 'unexpected' | 'not applicable'

/** A request of a cell's timeline. */
export interface TimelineRequest {
  readonly opcode: string
  readonly path: string
  /** From seen on the ring to replied, in milliseconds since the cell began. */
  readonly fromMs: number
  readonly toMs: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  /** Of writes: by the page cache. */
  readonly cached: boolean
  /** 0, or a negative errno. */
  readonly error: number
}

/** One case on one share of one kernel. */
export interface Cell {
  readonly case: string
  readonly share: string
  /** By the rules of fs/fuse; undefined where the question makes no sense. */
  readonly expected: string | undefined
  /** Undefined when the guest cannot do it: it has no io_uring, for example. */
  readonly observed: string | undefined
  readonly evidence: string
  readonly verdict: Verdict
  readonly ms: number
  /** Milliseconds since the cell began. */
  readonly phases: readonly Phase[]
  readonly requests: readonly TimelineRequest[]
  /** The same in words that two runs have in common, in order; undefined when there are too many, or they race. */
  readonly stream: readonly string[] | undefined
  /** What the guest's kernel complained of meanwhile. */
  readonly trouble: readonly string[]
  /** Every request of the share meanwhile, in words, of an unexpected cell. */
  readonly trace: readonly string[] | undefined
}

export interface KernelResult {
  /** As it was asked for. */
  readonly kernel: string
  readonly release: string
  /** "7.MINOR". */
  readonly fuse: string
  /** Where the expectations come from, when that is not the guest's own version: "the rules of FUSE 7.39". */
  readonly judgedAs: string | undefined
  readonly accelerator: string
  readonly bootMs: number
  readonly ms: number
  /** False while it runs, and when it did not come to its end. */
  readonly isComplete: boolean
  readonly cells: readonly Cell[]
}

export interface LabResult {
  readonly startedAt: string
  readonly kernels: readonly KernelResult[]
}

/** A kernel that complains is unexpected, whatever else was seen. */
export function judge(
  expected: string | undefined,
  observed: string | undefined,
  trouble: readonly string[],
): Verdict {
  if (trouble.length > 0) return 'unexpected'
  if (expected === undefined || observed === undefined) return 'not applicable'
  return expected === observed ? 'as expected' : 'unexpected'
}

export function unexpectedCells({ cells }: KernelResult): readonly Cell[] {
  return cells.filter(({ verdict }) => verdict === 'unexpected')
}

/** One unexpected cell decides. Without a cell that applies there is no verdict. */
export function verdictOf({ kernels }: LabResult): Verdict {
  const verdicts = kernels.flatMap(({ cells }) => cells.map(({ verdict }) => verdict))
  if (verdicts.includes('unexpected')) return 'unexpected'
  return verdicts.includes('as expected') ? 'as expected' : 'not applicable'
}
