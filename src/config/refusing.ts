import { messageOf } from '../basics/errors.js'
import { FaultSpecError } from '../inspect/fault-spec.js'
import { LimitError } from '../limits/rate-words.js'
import { IdTranslationError } from '../passthrough/owners/id-translation.js'
import { XattrMapError } from '../passthrough/xattrs/xattr-map.js'
import { CommandError } from '../share/command-arguments.js'
import { UserError } from './user-error.js'

/** Errors that the readers of notations throw for a malformed text. */
const refusals = [CommandError, FaultSpecError, IdTranslationError, LimitError, XattrMapError]

/** Runs a reader of some notation. Turns its refusal into a UserError that begins with `where`. */
export function refusing<T>(where: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!refusals.some((kind) => error instanceof kind)) throw error
    throw new UserError(`${where}: ${messageOf(error)}`)
  }
}
