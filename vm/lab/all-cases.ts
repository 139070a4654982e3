import picomatch from 'picomatch'
import { SetupError } from '../host/setup-error.js'
import type { LabCase } from './case.js'
import { accountCases } from './cases/accounts.js'
import { asyncCases } from './cases/async.js'
import { attributeCases } from './cases/attributes.js'
import { bootCases } from './cases/boot.js'
import { cacheCases } from './cases/cache.js'
import { dataCases } from './cases/data.js'
import { entryCases } from './cases/entries.js'
import { errorCases } from './cases/errors.js'
import { hostChangeCases } from './cases/host-changes.js'
import { identityCases } from './cases/identity.js'
import { interfaceCases } from './cases/interfaces.js'
import { ioModeCases } from './cases/io-modes.js'
import { leakCases } from './cases/leaks.js'
import { listingCases } from './cases/listings.js'
import { lockCases } from './cases/locks.js'
import { lookupCases } from './cases/lookups.js'
import { mappingCases } from './cases/mapping.js'
import { meanwhileCases } from './cases/meanwhile.js'
import { mixedCases } from './cases/mixed.js'
import { nameCases } from './cases/names.js'
import { overlapCases } from './cases/overlap.js'
import { overtakenCases } from './cases/overtaken.js'
import { protocolCases } from './cases/protocol.js'
import { queueCases } from './cases/queues.js'
import { rangeCases } from './cases/ranges.js'
import { readDuringWriteCases } from './cases/read-during-write.js'
import { refusalCases } from './cases/refusals.js'
import { requestFlagCases } from './cases/request-flags.js'
import { requestCases } from './cases/requests.js'
import { splitAioCases } from './cases/split-aio.js'
import { tailCases } from './cases/tails.js'
import { timeCases } from './cases/times.js'
import { transitionCases } from './cases/transitions.js'
import { writeBackCases } from './cases/write-back.js'

/** In running order, which is also the order of the matrix. */
export const allCases: readonly LabCase[] = [
  ...bootCases,
  ...overlapCases,
  ...mappingCases,
  ...readDuringWriteCases,
  ...ioModeCases,
  ...transitionCases,
  ...asyncCases,
  ...cacheCases,
  ...listingCases,
  ...dataCases,
  ...tailCases,
  ...accountCases,
  ...writeBackCases,
  ...requestCases,
  ...requestFlagCases,
  ...protocolCases,
  ...queueCases,
  ...nameCases,
  ...entryCases,
  ...hostChangeCases,
  ...lockCases,
  ...errorCases,
  ...rangeCases,
  ...timeCases,
  ...meanwhileCases,
  ...refusalCases,
  ...splitAioCases,
  ...overtakenCases,
  ...identityCases,
  ...lookupCases,
  ...attributeCases,
  ...interfaceCases,
  ...mixedCases,
  ...leakCases,
]

/** Cases whose names match a glob, such as `io-mode/*`. Throws SetupError if there are none. */
export function selectCases(glob: string): readonly LabCase[] {
  const matches = picomatch(glob)
  const found = allCases.filter(({ name }) => matches(name))
  if (found.length > 0) return found
  const groups = [...new Set(allCases.map(({ name }) => `${name.split('/')[0]}/*`))].sort()
  throw new SetupError(`no case is called ${glob}. There are ${groups.join(', ')}: --list names them all`)
}
