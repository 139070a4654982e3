import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
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

/** The folder of this program, bundled or not. */
const PROGRAM = resolve(fileURLToPath(new URL('..', import.meta.url)))
const MAIN = join(PROGRAM, 'main.js')

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
  ].map((place) => ({ ...place, way: wayTo(place.path, !place.isMade) }))
  for (const { config: share } of shares) {
    const root = changeableRoot(share)
    if (root === undefined) continue
    const exposed = places.find(({ way }) => way.has(root))
    if (exposed === undefined) continue
    throw new UserError(
      `${exposed.where} ${exposed.path}: lies in the shared directory ${share.directory}, whose guest could replace it; put it elsewhere`,
    )
  }
}

/**
 * Returns a function that lists what the guest of one of the shares could change that this process uses when it starts
 * again. These are no errors: some want it so.
 */
export function exposureAmong(shares: readonly ShareConfig[]): (share: ShareConfig) => readonly string[] {
  const others = shares.map((share) => ({ share, way: wayTo(share.directory, true) }))
  const wayToProgram = wayTo(MAIN, true)
  return (share) => {
    const root = changeableRoot(share)
    if (root === undefined) return []
    const inner = others.filter(({ share: other, way }) => other !== share && way.has(root))
    return [
      ...inner.map(
        ({ share: { directory } }) =>
          `the shared directory ${directory} lies in this one, whose guest can put a link in its place: the next start then shares what the link leads to`,
      ),
      ...(wayToProgram.has(root)
        ? [`this program lies in it (${PROGRAM}): the guest can change what the host runs at the next start`]
        : []),
    ]
  }
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

/** The directories on the way to a path. The guest of a share that is one of them can decide where the path leads. */
function wayTo(path: string, followsLast: boolean): ReadonlySet<string | undefined> {
  return new Set(directoriesOnTheWay(path, followsLast).map(identityOf))
}

/** Identifies the directory of a share whose guest can change it. Undefined for all others, and for the whole host. */
function changeableRoot({ directory, file, readonly, givesDirectory }: ShareConfig): string | undefined {
  if (readonly || file !== undefined || !givesDirectory) return undefined
  const root = identityOf(directory)
  return root === identityOf('/') ? undefined : root
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
