import { Opcode } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { nearestName } from '../basics/nearest-name.js'
import { FaultSpecError } from '../inspect/fault-spec.js'
import { compileGlob } from '../io-mode/open-rules.js'

/** A command has a wrong argument; nothing was changed. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/** Returns true if an error says what was wrong with a command, rather than reporting a bug here. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof CommandError || error instanceof FaultSpecError
}

/** Returns the numbers of opcodes given by name. Throws CommandError. */
export function opcodeNumbers(names: unknown): number[] {
  return namesToNumbers(names, Opcode, 'opcode')
}

/** Returns the numbers of names in a table. `what` describes the names in messages. Throws CommandError. */
export function namesToNumbers(
  names: unknown,
  table: Readonly<Record<string, number>>,
  what: string,
): number[] {
  if (!Array.isArray(names)) throw new CommandError(`expected a list of ${what} names`)
  return names.map((name) => {
    const number = typeof name === 'string' && Object.hasOwn(table, name) ? table[name] : undefined
    if (number === undefined)
      throw new CommandError(`no such ${what}: '${name}'${nearestName(`${name}`, Object.keys(table))}`)
    return number
  })
}

/** Returns an object; undefined stands for an empty one. Throws CommandError. */
export function checkedObject(value: unknown): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) throw new CommandError('expected an object')
  // The object may have any fields: each caller checks the ones it reads.
  return value as Readonly<Record<string, unknown>>
}

/** Returns a boolean. Throws CommandError. */
export function checkedFlag(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new CommandError('expected true or false')
  return value
}

/** Returns a whole number; undefined stays undefined. Throws CommandError. */
export function checkedNumber(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new CommandError('expected a number')
  return value
}

/** Compiles a glob. Throws CommandError. */
export function globFor(path: string): (path: string) => boolean {
  try {
    return compileGlob(path)
  } catch (error) {
    throw new CommandError(`bad glob '${path}': ${messageOf(error)}`)
  }
}
