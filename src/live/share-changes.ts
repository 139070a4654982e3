import { closeSync } from 'node:fs'
import { configureAdded } from '../config/configuration.js'
import type { GivenOptions } from '../config/given-options.js'
import { parseShareWords } from '../config/share-words.js'
import { UserError } from '../config/user-error.js'
import { openForSandbox } from '../sandbox/handed-directory.js'
import type { ShareConfig } from '../share/share-config.js'
import { claimSocket } from '../sockets/socket-claim.js'
import type { KeptSockets } from './kept-sockets.js'
import type { DescribedShare, Description, NewShare } from './messages.js'
import type { RunningProcess } from './running-process.js'

/** What a helper works with. */
export interface Helper {
  readonly process: RunningProcess
  readonly sockets: KeptSockets
  readonly given: GivenOptions
}

/** `ctl share-add WORDS`: adds a share that is described as by `--share`. Throws UserError, and changes nothing then. */
export function addShare(helper: Helper, words: string): object {
  const description = helper.process.describe()
  const running = description.shares.map(({ config }) => config)
  const { config, dangers } = configureAdded(helper.given, parseShareWords(words), running)
  const id = prepareShare(helper, description, { config, added: true, words, dangers })
  helper.sockets.confirm()
  commit(helper, description, { begin: [id], said: 'share added' })
  return { name: config.tag ?? `${id}`, directory: config.directory, socketPath: config.socketPath, dangers }
}

/** `ctl share-remove`: ends a share and removes its socket. Throws UserError. */
export function removeShare(helper: Helper, name: string | undefined): object {
  const description = helper.process.describe()
  const share = shareCalled(name, description.shares)
  releaseSocket(helper, share.config)
  commit(helper, description, { remove: [share.id], said: 'share removed' })
  return { removed: share.name }
}

/** Makes a share that does not serve yet. Returns its number. Throws UserError, and leaves nothing behind then. */
export function prepareShare(
  { process, sockets }: Helper,
  { configuration: { sandbox } }: Description,
  share: NewShare,
): number {
  const { config } = share
  expectAddable(config, sandbox !== 'none')
  const rootFd = openForSandbox(config.directory, config.readonly, sandbox)
  // A helper that was killed may have left its socket's files to the broker. No share that runs listens there.
  sockets.release(config.socketPath)
  try {
    const claim = claimSocket(config.socketPath, '--socket-path', config.socketGid, sockets)
    try {
      return process.prepare(share, claim.listenFd, rootFd)
    } catch (error) {
      sockets.release(config.socketPath)
      throw error
    } finally {
      closeSync(claim.listenFd)
      if (claim.lockFd !== undefined) closeSync(claim.lockFd)
    }
  } finally {
    closeSync(rootFd)
  }
}

export function releaseSocket({ sockets }: Helper, { socketPath }: ShareConfig): void {
  if (socketPath !== '') sockets.release(socketPath)
}

interface Parts {
  readonly begin?: readonly number[]
  readonly remove?: readonly number[]
  readonly said: string
}

function commit({ process }: Helper, { configuration: { logLevel } }: Description, parts: Parts): void {
  process.commit({ begin: [], remove: [], settings: [], logLevel, ...parts })
}

/** Throws UserError for what only a start can do. */
function expectAddable(config: ShareConfig, sealed: boolean): void {
  const { directory, file, fileSystem, inheritedFd, trace } = config
  if (inheritedFd !== undefined)
    throw new UserError(`--fd ${inheritedFd}: a running process inherits no socket: give a socket path`)
  if (fileSystem !== undefined)
    throw new UserError(`--file-system ${fileSystem.path}: a module is loaded when the process starts`)
  if (file !== undefined)
    throw new UserError(`--shared-dir ${directory}/${file}: a file alone is shared from the start, or not`)
  if (trace !== undefined && sealed)
    throw new UserError(`--trace ${trace}: a process in a sandbox cannot reach it: trace from the start`)
}

/** Finds a share by its name; a single one needs no name. Throws UserError. */
function shareCalled(name: string | undefined, shares: readonly DescribedShare[]): DescribedShare {
  const names = shares.map((share) => `${share.name} (${share.config.directory})`).join(', ')
  const found = name === undefined ? shares : shares.filter((share) => share.name === name)
  const [share, ...others] = found
  if (share === undefined) throw new UserError(`no share is called '${name ?? ''}'. There are: ${names}`)
  if (others.length > 0) throw new UserError(`say which share: ${names}`)
  return share
}
