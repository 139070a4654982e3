import { accessSync, constants } from 'node:fs'
import { resolve } from 'node:path'
import { codeOf } from '../basics/errors.js'
import { UserError } from '../config/user-error.js'
import type { PacketSocket } from '../sockets/packet-socket.js'
import { askBroker } from './ask-broker.js'
import type { DescribedShare } from './messages.js'
import type { RunningProcess } from './running-process.js'

const MAIN = new URL('../main.js', import.meta.url).pathname

/** What `ctl replace` asks for. */
export interface ReplaceRequest {
  /** Another program; undefined: the same one again. */
  readonly program: string | undefined
  /** Options behind those of the present command line. */
  readonly options: readonly string[]
}

/** What starts a successor. */
export interface Starter {
  readonly process: RunningProcess
  readonly broker: PacketSocket
  /** The options of the process that serves. */
  readonly args: readonly string[]
}

/**
 * Starts a successor of the process that serves, and has it take everything over. Throws UserError if the process goes on.
 */
export function replace(starter: Starter, request: ReplaceRequest): object {
  return takeOver(starter, startSuccessor(starter, request))
}

/** Starts a successor. Returns the descriptor of the socket between both processes. Throws UserError. */
export function startSuccessor(
  { process: running, broker, args }: Starter,
  { program, options }: ReplaceRequest,
): number {
  if (program !== undefined) mustBeProgram(program)
  const own = [process.execPath, ...process.execArgv, MAIN]
  const { shares } = running.describe()
  mustBeDirectories(shares)
  // Shares that commands have added are options from now on.
  const added = shares.flatMap(({ words }) => (words === undefined ? [] : ['--share', words]))
  const words = [...(program === undefined ? own : [resolve(program)]), ...args, ...added, ...options]
  const [fd] = askBroker(broker, `r${words.map((word) => `${word}\0`).join('')}`) ?? []
  if (fd === undefined) throw new UserError('no further process can be started')
  return fd
}

/** Has the successor at the other end of `fd` take everything over. Throws UserError if it does not; the log says why. */
export function takeOver({ process: running, broker }: Starter, fd: number): object {
  running.replaceBy(fd)
  // Later changes go to the new process.
  if (askBroker(broker, 'd') === undefined) throw new UserError('the broker does not answer')
  return { replaced: true }
}

/** A successor would load the modules of others a second time, for nothing. */
function mustBeDirectories(shares: readonly DescribedShare[]): void {
  const own = shares.find(({ config }) => config.fileSystem !== undefined)
  if (own !== undefined)
    throw new UserError(`share ${own.name}: a file system of a module cannot be handed over`)
}

function mustBeProgram(program: string): void {
  try {
    accessSync(program, constants.X_OK)
  } catch (error) {
    throw new UserError(`${program} cannot be run (${codeOf(error)})`)
  }
}

/** Checks the argument of `replace`. Throws UserError. */
export function replaceRequestOf(argument: unknown): ReplaceRequest {
  if (argument === undefined) return { program: undefined, options: [] }
  if (typeof argument !== 'object' || argument === null) throw new UserError(USAGE)
  const { with: program, options = [], ...others } = argument as Readonly<Record<string, unknown>>
  const areWords = Array.isArray(options) && options.every((word) => typeof word === 'string')
  const isProgram = program === undefined || (typeof program === 'string' && program !== '')
  if (!areWords || !isProgram || Object.keys(others).length > 0) throw new UserError(USAGE)
  if (options.some((word) => word.includes('\0'))) throw new UserError('an option contains a NUL')
  return { program, options }
}

const USAGE = 'replace takes { with: PROGRAM, options: [ OPTION ] }'
