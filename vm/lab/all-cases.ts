import picomatch from 'picomatch'
import { SetupError } from '../host/setup-error.js'
import type { LabCase } from './case.js'
import { asyncCases } from './cases/async.js'
import { bootCases } from './cases/boot.js'
import { cacheCases } from './cases/cache.js'
import { dataCases } from './cases/data.js'
import { ioModeCases } from './cases/io-modes.js'
import { leakCases } from './cases/leaks.js'
import { mappingCases } from './cases/mapping.js'
import { mixedCases } from './cases/mixed.js'
import { nameCases } from './cases/names.js'
import { overlapCases } from './cases/overlap.js'
import { requestCases } from './cases/requests.js'

/** In running order, which is also the order of the matrix. */
export const allCases: readonly LabCase[] = [
  ...bootCases,
  ...overlapCases,
  ...mappingCases,
  ...ioModeCases,
  ...asyncCases,
  ...cacheCases,
  ...dataCases,
  ...requestCases,
  ...nameCases,
  ...mixedCases,
  ...leakCases,
]

/** Cases whose names match a glob, such as `io-mode/*`. Throws SetupError if there are none. */
export function selectCases(glob: string): readonly LabCase[] {
  const matches = picomatch(glob)
  const found = allCases.filter(({ name }) => matches(name))
  if (found.length > 0) return found
  throw new SetupError(`no case is called ${glob}. Cases: ${allCases.map(({ name }) => name).join(', ')}`)
}
