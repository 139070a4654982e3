import { resolve } from 'node:path'
import { messageOf } from '../basics/errors.js'
import { UserError } from '../config/user-error.js'
import { changeCommands, ownCommands, shareCommands } from '../control/control-commands.js'
import { parseFaultWords } from '../inspect/fault-words.js'

/** Commands that do nothing without an argument. */
const needsArgument = ['set', 'share-add', 'inspect', 'trace', 'fault-add', 'fault-remove', 'withhold']

/** What the help says of each command. */
const purposes: Readonly<Record<string, string>> = { ...ownCommands, ...changeCommands, ...shareCommands }

/**
 * Parses the argument of a control command: JSON, or short words such as `on`, `top=5,sort=writes` and
 * `LSEEK+SYNCFS`. Throws UserError.
 */
export function parseCtlArgument(command: string, text: string | undefined): unknown {
  if (text === undefined) {
    if (needsArgument.includes(command))
      throw new UserError(`ctl: ${command} needs an argument: ${purposes[command]}`)
    return undefined
  }
  // A share may be called 7.
  if (command === 'share-remove') return text
  try {
    return JSON.parse(text)
  } catch {
    if (/^[{["]/.test(text)) throw new UserError(`ctl: the argument is not JSON: ${text}`)
    return parseWords(command, text)
  }
}

function parseWords(command: string, text: string): unknown {
  switch (command) {
    case 'inspect':
    case 'trace':
      if (text === 'on' || text === 'off') return text === 'on'
      throw new UserError(`ctl: ${command} takes on or off, not '${text}'`)
    case 'inodes':
      return pairsOf(command, text, { top: Number })
    case 'init':
      return pairsOf(command, text, { on: names, off: names, minor: Number })
    case 'limits':
    case 'set':
      return pairsOf(command, text, {})
    case 'share-add':
      return text
    case 'withhold':
      return names(text)
    case 'fault-add':
      try {
        return parseFaultWords(text)
      } catch (error) {
        throw new UserError(`ctl: ${messageOf(error)}`)
      }
    default:
      throw new UserError(`ctl: ${command} does not take '${text}'`)
  }
}

function names(text: string): string[] {
  return text === 'none' ? [] : text.split('+')
}

type Reader = (value: string) => unknown

function pairsOf(command: string, text: string, readers: Readonly<Record<string, Reader>>): object {
  const pairs = text.split(',').map((word) => {
    const [key = '', value] = word.split(/=(.*)/s)
    if (value === undefined) throw new UserError(`ctl: ${command}: expected key=value, got '${word}'`)
    return [key, readers[key]?.(value) ?? value] as const
  })
  return Object.fromEntries(pairs)
}

/** Options of ctl that take a value. */
const withValue: readonly string[] = ['--control-socket', '--share', '--watch']

/** The argument of the command replace. */
interface ReplaceArgument {
  readonly with?: string
  readonly options: readonly string[]
}

/** Splits off what follows the command `replace`: the options of the new process. Throws UserError. */
export function splitReplace(words: readonly string[]): {
  readonly args: readonly string[]
  readonly successor: ReplaceArgument | undefined
} {
  const at = words.findIndex((word, n) => word === 'replace' && !withValue.includes(words[n - 1] ?? ''))
  if (at < 0) return { args: words, successor: undefined }
  const rest = words.slice(at + 1)
  const args = words.slice(0, at + 1)
  if (rest[0]?.startsWith('--with=')) rest.splice(0, 1, '--with', rest[0].slice('--with='.length))
  if (rest[0] !== '--with') return { args, successor: { options: rest } }
  const [, program, ...options] = rest
  if (program === undefined || program === '') throw new UserError('ctl: replace --with PROGRAM')
  return { args, successor: { with: resolve(program), options } }
}
