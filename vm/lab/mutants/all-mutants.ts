import { aftermathMutants } from './aftermath.js'
import { dataMutants } from './data.js'
import { directoryMutants } from './directories.js'
import { entryMutants } from './entries.js'
import { errorMutants } from './errors.js'
import { fileIoMutants } from './file-io.js'
import { interfaceMutants } from './interfaces.js'
import { lockingMutants } from './locking.js'
import type { Mutant } from './mutant.js'
import { nameMutants } from './names.js'
import { newerMutants } from './newer.js'
import { replyMutants } from './replies.js'

export const allMutants: readonly Mutant[] = [
  ...lockingMutants,
  ...dataMutants,
  ...nameMutants,
  ...errorMutants,
  ...newerMutants,
  ...entryMutants,
  ...aftermathMutants,
  ...fileIoMutants,
  ...directoryMutants,
  ...replyMutants,
  ...interfaceMutants,
]
