import { readFileSync } from 'node:fs'
import { SetupError } from '../host/setup-error.js'
import type { LabCase } from './case.js'
import type { GuestFacts } from './kernel-rules.js'
import type { LabResult } from './result.js'

/** The expected observations of cases on the shares of a guest. */
export interface Expectations {
  /** The source of the rules in reports, if it is not the guest's own version: "the rules of FUSE 7.39". */
  readonly source: string | undefined
  /** Undefined if the question does not apply. */
  of(labCase: LabCase, facts: GuestFacts): string | undefined
}

/** The rules of fs/fuse, for the guest's own FUSE version or for another one. */
export function rulesOf(minor?: number): Expectations {
  return {
    source: minor === undefined ? undefined : `the rules of FUSE 7.${minor}`,
    of: (labCase, facts) => labCase.expected(minor === undefined ? facts : { ...facts, minor }),
  }
}

/** The observations of an earlier run on a single kernel. A cell that it lacks does not apply. */
export function observedIn(file: string): Expectations {
  const kernels = readResult(file).kernels
  const [kernel] = kernels
  if (kernel === undefined || kernels.length > 1)
    throw new SetupError(`--expect ${file}: the result has ${kernels.length} kernels, expected one`)
  const observed = new Map(kernel.cells.map((cell) => [`${cell.case} ${cell.share}`, cell.observed]))
  return {
    source: `what Linux ${kernel.release} did`,
    of: ({ name }, { share }) => observed.get(`${name} ${share}`),
  }
}

/** Reads a file written by --json. Throws SetupError. */
export function readResult(file: string): LabResult {
  try {
    const result = JSON.parse(readFileSync(file, 'utf8')) as LabResult
    if (Array.isArray(result.kernels)) return result
  } catch (error) {
    throw new SetupError(`${file} cannot be read: ${(error as Error).message}`)
  }
  throw new SetupError(`${file} is not a result of the lab`)
}
