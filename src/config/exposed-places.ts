import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ShareConfig } from '../share/share-config.js'
import { directoriesOnTheWay } from './path-steps.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

interface Share {
  readonly draft: Pick<ShareDraft, 'where'>
  readonly config: ShareConfig
}

/** A file of this process, and the option that named it: "--trace FILE". */
interface Place {
  readonly path: string
  readonly where: string
  /** True for what this process makes: it follows no link at the end of the path. */
  readonly isMade: boolean
}

/** Files of the whole process. */
export interface ProcessFiles {
  readonly controlSocket: string | undefined
  readonly metricsSocket: string | undefined
  readonly config: string | undefined
  readonly syslog: string | undefined
}

const PROGRAM = dirname(fileURLToPath(import.meta.url))

/**
 * Checks that the way to no file of this process leads through a writable share, where a guest could replace it: it would
 * choose what this process reads, runs or writes to. Throws UserError. Accepts a share of the whole host, since no other
 * place exists then.
 */
export function expectOutOfReach(shares: readonly Share[], files: ProcessFiles): void {
  const places = [
    ...placeOf('--control-socket', files.controlSocket, true),
    ...placeOf('--metrics', files.metricsSocket, true),
    ...placeOf('--config', files.config, false),
    ...placeOf('--syslog', files.syslog, false),
    ...shares.flatMap(placesOf),
  ]
  for (const { config: share } of shares) {
    const exposed = places.find(({ path, isMade }) => mayRedirect(share, path, isMade))
    if (exposed === undefined) continue
    throw new UserError(
      `${exposed.where} ${exposed.path}: lies in the shared directory ${share.directory}, whose guest could replace it; put it elsewhere`,
    )
  }
}

/** Lists what a share's guest could change that this process uses when it starts again. These are no errors: some want it so. */
export function exposedTo(share: ShareConfig, shares: readonly ShareConfig[]): readonly string[] {
  const inner = shares.filter((other) => other !== share && mayRedirect(share, other.directory, false))
  return [
    ...inner.map(
      ({ directory }) =>
        `the shared directory ${directory} lies in this one, whose guest can put a link in its place: the next start then shares what the link leads to`,
    ),
    ...(mayRedirect(share, PROGRAM, false)
      ? [`this program lies in it (${PROGRAM}): the guest can change what the host runs at the next start`]
      : []),
  ]
}

function placesOf({ draft: { where }, config }: Share): readonly Place[] {
  const { socketPath, inheritedFd, trace, fileSystem } = config
  return [
    ...placeOf(where('socket-path'), inheritedFd === undefined ? socketPath : undefined, true),
    ...placeOf(where('trace'), trace, true),
    ...placeOf(where('file-system'), fileSystem?.path, false),
  ]
}

function placeOf(where: string, path: string | undefined, isMade: boolean): readonly Place[] {
  return path === undefined || path === '' ? [] : [{ path, where, isMade }]
}

/** Returns true if the guest of a share can decide where a path leads. */
function mayRedirect(
  { directory, file, readonly, givesDirectory }: ShareConfig,
  path: string,
  isMade: boolean,
): boolean {
  if (readonly || file !== undefined || !givesDirectory) return false
  const root = identityOf(directory)
  if (root === undefined || root === identityOf('/')) return false
  return directoriesOnTheWay(path, !isMade).some((step) => identityOf(step) === root)
}

/** Identifies a directory by device and inode number, because it can have several paths. Undefined if it does not exist. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}
