import * as native from 'virtiofsd-ts-native'
import { openBelow } from '../inodes/open-below.js'
import type { NameOpener } from '../names/name-opener.js'

const { O_DIRECTORY, O_NONBLOCK, O_RDONLY } = native.constants

const BUFFER_BYTES = 64 * 1024
/** struct linux_dirent64: ino, off, reclen, type, name. */
const D_RECLEN = 16
const D_TYPE = 18
const D_NAME = 19
const DT_UNKNOWN = 0
const DT_DIR = 4
const SLASH = 0x2f
const DOT = 0x2e

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
  const bytes = new Uint8Array(BUFFER_BYTES)
  const view = new DataView(bytes.buffer)
  const waiting: Uint8Array[] = [new Uint8Array(0)]
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const fd = openBelow(rootFd, opener, directory, O_RDONLY | O_DIRECTORY | O_NONBLOCK)
    if (fd < 0) continue
    try {
      for (let got = native.getdents64(fd, bytes); got > 0; got = native.getdents64(fd, bytes)) {
        for (let at = 0; at < got; at += view.getUint16(at + D_RECLEN, true)) {
          const name = bytes.subarray(at + D_NAME, bytes.indexOf(0, at + D_NAME))
          if (name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT))) continue
          const type = bytes[at + D_TYPE]
          const inoLow = view.getInt32(at, true)
          const inoHigh = view.getInt32(at + 4, true)
          const isWanted = wants(inoLow, inoHigh)
          const mayBeDirectory = type === DT_DIR || type === DT_UNKNOWN
          if (!isWanted && !mayBeDirectory) continue
          const path = joined(directory, name)
          if (mayBeDirectory) waiting.push(path)
          if (isWanted) yield { path, inoLow, inoHigh }
        }
      }
    } finally {
      native.close(fd)
    }
    yield undefined
  }
}

function joined(directory: Uint8Array, name: Uint8Array): Uint8Array {
  if (directory.length === 0) return name.slice()
  const path = new Uint8Array(directory.length + 1 + name.length)
  path.set(directory)
  path[directory.length] = SLASH
  path.set(name, directory.length + 1)
  return path
}
