import { realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import type { ShareConfig } from '../share/share-config.js'
import { UserError } from './user-error.js'

/** A file of this process, and the option that named it: "--trace FILE". */
interface Place {
  readonly path: string
  readonly where: string
}

/**
 * Checks that no file of this process lies in a writable share, where a guest could replace it. Throws UserError.
 * Accepts a share of the whole host, since no other place exists then.
 */
export function expectOutOfReach(
  shares: readonly ShareConfig[],
  controlSocket: string | undefined,
  metricsSocket: string | undefined,
): void {
  const places = [
    ...(controlSocket === undefined ? [] : [{ path: controlSocket, where: '--control-socket' }]),
    ...(metricsSocket === undefined ? [] : [{ path: metricsSocket, where: '--metrics' }]),
    ...shares.flatMap(placesOf),
  ]
  for (const { directory, file, readonly, givesDirectory } of shares) {
    const root = realPathOf(directory)
    if (readonly || file !== undefined || !givesDirectory || root === '/') continue
    const exposed = places.find(({ path }) => liesIn(root, path))
    if (exposed === undefined) continue
    throw new UserError(
      `${exposed.where} ${exposed.path}: lies in the shared directory ${directory}, whose guest could replace it; put it elsewhere`,
    )
  }
}

function placesOf({ socketPath, inheritedFd, trace }: ShareConfig): readonly Place[] {
  return [
    ...(socketPath === '' || inheritedFd !== undefined ? [] : [{ path: socketPath, where: '--socket-path' }]),
    ...(trace === undefined ? [] : [{ path: trace, where: '--trace' }]),
  ]
}

/** Returns true if a file lies in a directory or below. The file need not exist. */
function liesIn(root: string, path: string): boolean {
  const below = relative(root, join(realPathOf(dirname(path)), basename(path)))
  return below !== '' && !below.startsWith('..')
}

/** Returns the real path, or the path itself if it cannot be resolved: its later use then reports why. */
function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
