import * as native from 'virtiofsd-ts-native'
import { DirectoryNames } from '../inodes/dirents.js'
import { openBelow } from '../inodes/open-below.js'
import type { NameOpener } from '../names/name-opener.js'
import { joined } from './joined-path.js'

const { O_DIRECTORY, O_NONBLOCK, O_RDONLY } = native.constants

const DT_UNKNOWN = 0
const DT_DIR = 4

/** A name in the shared directory whose inode number is wanted. */
export interface Found {
  readonly path: Uint8Array
  readonly inoLow: number
  readonly inoHigh: number
}

/**
 * Walks the whole shared directory and yields the names whose inode number `wants`, and undefined after each directory.
 * Inode numbers come from the directory itself, so a mount point shows the number of what it hides.
 */
export function* search(
  rootFd: number,
  opener: NameOpener,
  wants: (inoLow: number, inoHigh: number) => boolean,
): Generator<Found | undefined> {
  const names = new DirectoryNames()
  const waiting: Uint8Array[] = [new Uint8Array(0)]
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const fd = openBelow(rootFd, opener, directory, O_RDONLY | O_DIRECTORY | O_NONBLOCK)
    if (fd < 0) continue
    try {
      for (let got = names.first(fd); got > 0; got = names.next(fd)) {
        const { type, nameAt, nameBytes } = names
        // As an inode table has them: signed.
        const [inoLow, inoHigh] = [names.inoLow | 0, names.inoHigh | 0]
        const isWanted = wants(inoLow, inoHigh)
        const mayBeDirectory = type === DT_DIR || type === DT_UNKNOWN
        if (!isWanted && !mayBeDirectory) continue
        const path = joined(directory, names.bytes, nameAt, nameBytes)
        if (mayBeDirectory) waiting.push(path)
        if (isWanted) yield { path, inoLow, inoHigh }
      }
    } finally {
      native.close(fd)
    }
    yield undefined
  }
}
