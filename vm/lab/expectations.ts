import { readFileSync } from 'node:fs'
import { SetupError } from '../host/setup-error.js'
import type { LabCase } from './case.js'
import type { GuestFacts } from './kernel-rules.js'
import type { LabResult } from './result.js'

/** What a case should observe on a share of a guest. */
export interface Expectations {
  /** For reports, when it is not the guest's own version: "the rules of FUSE 7.39". */
  readonly source: string | undefined
  /** Undefined where the question makes no sense. */
  of(labCase: LabCase, facts: GuestFacts): string | undefined
}

/** By the rules of fs/fuse, for the guest's own version of FUSE or for another. */
export function rulesOf(minor?: number): Expectations {
  return {
    source: minor === undefined ? undefined : `the rules of FUSE 7.${minor}`,
    of: (labCase, facts) => labCase.expected(minor === undefined ? facts : { ...facts, minor }),
  }
}

/** What an earlier run observed, on its one kernel. A cell that it does not have does not apply. */
export function observedIn(file: string): Expectations {
  const kernels = readResult(file).kernels
  const [kernel] = kernels
  if (kernel === undefined || kernels.length > 1)
    throw new SetupError(`--expect ${file}: it has ${kernels.length} kernels, expected a result of one`)
  const observed = new Map(kernel.cells.map((cell) => [`${cell.case} ${cell.share}`, cell.observed]))
  return {
    source: `what Linux ${kernel.release} did`,
    of: ({ name }, { share }) => observed.get(`${name} ${share}`),
  }
}

/** Reads what --json wrote. Throws SetupError. */
export function readResult(file: string): LabResult {
  try {
    const result = JSON.parse(readFileSync(file, 'utf8')) as LabResult
    if (Array.isArray(result.kernels)) return result
  } catch (error) {
    throw new SetupError(`${file} cannot be read: ${(error as Error).message}`)
  }
  throw new SetupError(`${file} is no result of the lab`)
}
