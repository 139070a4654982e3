import type { Case } from '../support/device/cases.js'
import { attributeCases } from './attributes.js'
import { creatingCases, removingCases } from './creating.js'
import { dataCases } from './data.js'
import { directoryCases } from './directories.js'
import { ioctlCases } from './ioctls.js'
import { lockCases } from './locks.js'
import { lookupCases } from './lookup.js'
import { openingCases } from './opening.js'
import { privilegeCases } from './privileges.js'
import { renamingCases } from './renaming.js'
import { copy64Cases, statxCases, tmpfileCases } from './statx-tmpfile.js'
import { unknownOpcodeCases } from './unknown-opcodes.js'
import { unlinkedCases } from './unlinked.js'
import { xattrCases } from './xattrs.js'

/** Every opcode: its effect, and each of its errors. */
export const allCases: readonly Case[] = [
  ...lookupCases,
  ...creatingCases,
  ...removingCases,
  ...renamingCases,
  ...attributeCases,
  ...openingCases,
  ...dataCases,
  ...directoryCases,
  ...unlinkedCases,
  ...xattrCases,
  ...ioctlCases,
  ...lockCases,
  ...statxCases,
  ...tmpfileCases,
  ...copy64Cases,
  ...privilegeCases,
  ...unknownOpcodeCases,
]
