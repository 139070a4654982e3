import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { DirectoryNames } from '../inodes/dirents.js'
import { STATX_MASK, statxBytes, statxIdentity, statxIsDirectory } from '../inodes/statx.js'

const { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = native.constants
const DOT = 0x2e
const PARENT = Uint8Array.of(DOT, DOT, 0)
const DIRECTORY_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC

/** The room that a tree of the host occupies. */
export interface TreeCount {
  readonly bytes: number
  readonly inodes: number
  /** Directories that could not be read: what is below them is not counted. */
  readonly unread: number
}

/** Counts the inodes below a directory (O_PATH or open) and itself, each once, and the blocks that they occupy. */
export function countTree(rootFd: number): TreeCount {
  const st = new Int32Array(Statx.WORDS)
  const names = new DirectoryNames()
  /** Files with several names. */
  const seen = new Set<string>()
  let bytes = 0
  let inodes = 0
  let unread = 0
  const count = () => {
    bytes += statxBytes(st)
    inodes++
  }
  /** Counts what is in an open directory. Returns its directories. */
  const list = (fd: number): Uint8Array[] => {
    const below: Uint8Array[] = []
    let got = names.first(fd)
    for (; got > 0; got = names.next(fd)) {
      const { bytes: records, nameAt, nameBytes } = names
      if (native.statx(fd, records, nameAt, AT_SYMLINK_NOFOLLOW, STATX_MASK, st) < 0) continue
      const isDirectory = statxIsDirectory(st)
      if (!isDirectory && Statx.nlink(st) > 1) {
        const identity = statxIdentity(st)
        if (seen.has(identity)) continue
        seen.add(identity)
      }
      count()
      if (isDirectory) below.push(records.slice(nameAt, nameAt + nameBytes + 1))
    }
    if (got < 0) unread++
    return below
  }
  /** The directories from the root down to the present one, each with what is left below it. */
  const way: { readonly identity: string; readonly below: Uint8Array[] }[] = []
  const enter = (fd: number, below: Uint8Array[]): void => {
    native.fstatx(fd, STATX_MASK, st)
    way.push({ identity: statxIdentity(st), below })
  }
  if (native.fstatx(rootFd, STATX_MASK, st) === 0) count()
  let fd = native.openat(rootFd, Uint8Array.of(DOT, 0), 0, DIRECTORY_FLAGS, 0)
  if (fd < 0) return { bytes, inodes, unread: 1 }
  enter(fd, list(fd))
  // Without recursion, and without a descriptor for each level, because a guest can make a tree of any depth.
  for (let here = way.at(-1); here !== undefined; here = way.at(-1)) {
    const name = here.below.pop()
    if (name === undefined) {
      way.pop()
      const above = way.at(-1)
      if (above === undefined) break
      const up = native.openat(fd, PARENT, 0, DIRECTORY_FLAGS, 0)
      if (up >= 0) {
        native.close(fd)
        fd = up
      }
      // The host may have moved this directory: what is left above it is out of reach then.
      if (up < 0 || native.fstatx(fd, STATX_MASK, st) < 0 || statxIdentity(st) !== above.identity) {
        unread += way.length
        break
      }
      continue
    }
    const next = native.openat(fd, name, 0, DIRECTORY_FLAGS, 0)
    if (next < 0) {
      unread++
      continue
    }
    const below = list(next)
    // Without permission to search a directory, its directories are not found, nor is the way up.
    if (below.length > 0) enter(next, below)
    native.close(below.length > 0 ? fd : next)
    if (below.length > 0) fd = next
  }
  native.close(fd)
  return { bytes, inodes, unread }
}
