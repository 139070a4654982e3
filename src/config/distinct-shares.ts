import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { ShareConfig } from '../device/share-config.js'
import type { ShareDraft } from './share-builder.js'
import { UserError } from './user-error.js'

interface Share {
  readonly draft: ShareDraft
  readonly config: ShareConfig
}

/** Shares of one process have sockets, tags and traces of their own. Throws UserError at the second of two that clash. */
export function expectDistinct(shares: readonly Share[], controlSocket: string | undefined): void {
  const sockets = new Map<string, string>()
  if (controlSocket !== undefined) sockets.set(placeOf(controlSocket), 'the control socket is')
  const tags = new Set<string>()
  const traces = new Set<string>()
  for (const { draft, config } of shares) {
    const { socketPath, tag, trace } = config
    const taken = sockets.get(placeOf(socketPath))
    if (taken !== undefined)
      throw new UserError(`${draft.where('socket-path')} ${socketPath}: ${taken} there already`)
    sockets.set(placeOf(socketPath), 'another share listens')
    if (tag !== undefined && tags.has(tag))
      throw new UserError(`${draft.where('tag')} '${tag}': another share has this tag already`)
    if (tag !== undefined) tags.add(tag)
    if (trace !== undefined && traces.has(placeOf(trace)))
      throw new UserError(`${draft.where('trace')} ${trace}: another share is traced there already`)
    if (trace !== undefined) traces.add(placeOf(trace))
  }
}

/** One name for a file that may not exist yet, however its directory is written. */
function placeOf(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path))
  } catch {
    return resolve(path)
  }
}
