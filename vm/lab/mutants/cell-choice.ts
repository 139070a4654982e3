import { selectCases } from '../all-cases.js'
import type { LabCase } from '../case.js'
import type { ShareName } from '../option-sets.js'
import type { Mutant } from './mutant.js'

/** A case on a share. */
export interface CellChoice {
  readonly labCase: LabCase
  readonly share: ShareName
}

/** The cells that have to find a fault. */
export function cellsOf({ caughtBy }: Mutant): CellChoice[] {
  return caughtBy.map((cell) => {
    const [name, share] = cell.split('@') as [string, ShareName]
    return { labCase: selectCases(name)[0]!, share }
  })
}

/** All cells of the cases that match one of the globs, which are separated by spaces. */
export function cellsMatching(globs: string): CellChoice[] {
  const cases = new Set(globs.trim().split(/\s+/).flatMap(selectCases))
  return [...cases].flatMap((labCase) => labCase.shares.map((share) => ({ labCase, share })))
}

export function nameOf({ labCase, share }: CellChoice): string {
  return `${labCase.name}@${share}`
}
