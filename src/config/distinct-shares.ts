import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { ShareConfig } from '../share/share-config.js'
import { changesPath } from './changes-path.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

interface Share {
  readonly draft: ShareDraft
  readonly config: ShareConfig
}

/**
 * Checks that the shares of one process differ in socket, tag and trace file. Throws UserError at the first clash.
 */
export function expectDistinct(
  shares: readonly Share[],
  controlSocket: string | undefined,
  metricsSocket: string | undefined,
): void {
  const sockets = new Map<string, string>()
  if (controlSocket !== undefined) {
    sockets.set(placeOf(controlSocket), 'the control socket is')
    sockets.set(placeOf(changesPath(controlSocket)), 'changes are asked for')
  }
  if (metricsSocket !== undefined) {
    const taken = sockets.get(placeOf(metricsSocket))
    if (taken !== undefined) throw new UserError(`--metrics unix:${metricsSocket}: ${taken} there already`)
    sockets.set(placeOf(metricsSocket), 'metrics are served')
  }
  const tags = new Set<string>()
  const traces = new Set<string>()
  for (const { draft, config } of shares) {
    const { tag, trace } = config
    const socket = socketOf(config)
    const taken = sockets.get(socket)
    if (taken !== undefined) throw new UserError(`${whereSocket({ draft, config })}: ${taken} there already`)
    sockets.set(socket, 'another share listens')
    if (tag !== undefined && tags.has(tag))
      throw new UserError(`${draft.where('tag')} '${tag}': another share has this tag already`)
    if (tag !== undefined) tags.add(tag)
    if (trace !== undefined && traces.has(placeOf(trace)))
      throw new UserError(
        `${draft.where('trace')} ${trace}: another share is traced there already: put trace= into the --share that needs it`,
      )
    if (trace !== undefined) traces.add(placeOf(trace))
  }
}

/** Identifies a socket by its path, or by its descriptor if it has none. */
function socketOf({ socketPath, inheritedFd }: ShareConfig): string {
  return socketPath === '' ? `descriptor ${inheritedFd}` : placeOf(socketPath)
}

function whereSocket({ draft, config: { socketPath, inheritedFd } }: Share): string {
  return inheritedFd === undefined
    ? `${draft.where('socket-path')} ${socketPath}`
    : `${draft.where('fd')} ${inheritedFd}`
}

/** Returns one name for a file, however its directory is written. The file need not exist. */
function placeOf(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path))
  } catch {
    return resolve(path)
  }
}
