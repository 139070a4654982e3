import { messageOf } from '../basics/errors.js'
import { FaultSpecError } from '../inspect/fault-spec.js'
import { IdTranslationError } from '../passthrough/owners/id-translation.js'
import { XattrMapError } from '../passthrough/xattrs/xattr-map.js'
import { CommandError } from '../share/command-arguments.js'
import { UserError } from './user-error.js'

/** What readers of a notation throw when a text is not in it. */
const refusals = [CommandError, FaultSpecError, IdTranslationError, XattrMapError]

/** Reads a text in some notation; what its reader refuses is the user's error, which begins with `where`. */
export function refusing<T>(where: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!refusals.some((kind) => error instanceof kind)) throw error
    throw new UserError(`${where}: ${messageOf(error)}`)
  }
}
