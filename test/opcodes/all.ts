import type { Case } from '../support/cases.js'
import { attributeCases } from './attributes.js'
import { creatingCases, removingCases } from './creating.js'
import { dataCases } from './data.js'
import { directoryCases } from './directories.js'
import { lookupCases } from './lookup.js'
import { openingCases } from './opening.js'
import { renamingCases } from './renaming.js'
import { unknownOpcodeCases } from './unknown-opcodes.js'
import { unlinkedCases } from './unlinked.js'

/** Every opcode, for what it does and for each error that it can give. */
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
  ...unknownOpcodeCases,
]
