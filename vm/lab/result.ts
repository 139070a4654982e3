import type { Phase } from './scene.js'

export type Verdict = 'as expected' | 'unexpected' | 'not applicable'

/** A request of a cell's timeline. */
export interface TimelineRequest {
  readonly opcode: string
  readonly path: string
  /** Time from request to reply, in milliseconds since the cell began. */
  readonly fromMs: number
  readonly toMs: number
  /** From the event fuse_request_send of the guest's kernel to fuse_request_end, on the same clock. */
  readonly guestFromMs?: number
  readonly guestToMs?: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  /** For writes: the page cache wrote it. */
  readonly cached: boolean
  /** 0, or a negative errno. */
  readonly error: number
}

/** The commands of a cell, as text. */
export interface Recording {
  readonly qemu: string
  readonly servers: readonly string[]
  /** Lines to the programs in the guest and commands to the device, in their order. */
  readonly steps: readonly string[]
}

/** An open, or a mapping, that came to an inode that was open in some mode. */
export interface Transition {
  readonly share: string
  readonly from: string
  readonly to: string
  readonly expected: string | undefined
  readonly observed: string
}

/** One case on one share of one kernel. */
export interface Cell {
  readonly case: string
  readonly share: string
  /** The cell was not run, or not to its end: the server lacks something that it needs. */
  readonly needs?: 'our device'
  /** By the rules of fs/fuse. Undefined if the question does not apply. */
  readonly expected: string | undefined
  /** Undefined if the guest cannot run the case, for example without io_uring. */
  readonly observed: string | undefined
  readonly evidence: string
  readonly verdict: Verdict
  readonly ms: number
  /** Milliseconds since the cell began. */
  readonly phases: readonly Phase[]
  readonly requests: readonly TimelineRequest[]
  /** The requests as text that two runs share, in order. Undefined if there are too many or they race. */
  readonly stream: readonly string[] | undefined
  /** Complaints of the guest's kernel during the cell. */
  readonly trouble: readonly string[]
  /** The commands of an unexpected cell. */
  readonly recording: Recording | undefined
  /** All requests of the share during an unexpected cell, as text. */
  readonly trace: readonly string[] | undefined
}

export interface KernelResult {
  /** As the user gave it. */
  readonly kernel: string
  /** The server of the shares. */
  readonly server: string
  readonly release: string
  /** "7.MINOR". */
  readonly fuse: string
  /** The source of the expectations, if it is not the guest's own version: "the rules of FUSE 7.39". */
  readonly judgedAs: string | undefined
  /** The guest's kernel has trace events fuse:*. */
  readonly hasEvents: boolean
  readonly accelerator: string
  readonly bootMs: number
  readonly ms: number
  /** False during the run, and after a run that stopped early. */
  readonly isComplete: boolean
  readonly cells: readonly Cell[]
  /** The results of opens in different modes of one inode, collected from the cells. */
  readonly transitions: readonly Transition[]
}

export interface LabResult {
  readonly startedAt: string
  readonly kernels: readonly KernelResult[]
}

/** A complaint of the kernel makes a cell unexpected, whatever its observation. */
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

/** One unexpected cell decides. If no cell applies, there is no verdict. */
export function verdictOf({ kernels }: LabResult): Verdict {
  const verdicts = kernels.flatMap(({ cells }) => cells.map(({ verdict }) => verdict))
  if (verdicts.includes('unexpected')) return 'unexpected'
  return verdicts.includes('as expected') ? 'as expected' : 'not applicable'
}
