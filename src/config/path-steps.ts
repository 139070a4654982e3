import { lstatSync, readlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** As many links as Linux follows in a path. */
const MOST_LINKS = 40

/**
 * Returns the directories in which the system looks for a name on its way along a path, links included. Whoever may
 * write to one of them decides where the path leads. `followsLast`: a link at the path's end is followed too. The path
 * need not exist.
 */
export function directoriesOnTheWay(path: string, followsLast: boolean): readonly string[] {
  const directories: string[] = []
  const names = partsOf(resolve(path))
  let directory = '/'
  let links = 0
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    directories.push(directory)
    const place = join(directory, name)
    const target = names.length > 0 || followsLast ? linkTarget(place) : undefined
    if (target === undefined) directory = place
    else {
      if (++links > MOST_LINKS) break
      names.unshift(...partsOf(target))
      if (target.startsWith('/')) directory = '/'
    }
  }
  return directories
}

function partsOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

/** Returns undefined for what is no link, or cannot be reached. */
function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined
  } catch {
    return undefined
  }
}
