import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { joined } from './joined-path.js'
import { KnownNames } from './known-names.js'

/** Names read before everything else has its turn. */
const NAMES_PER_PIECE = 64

/** An inode that the guest knows, its path below the shared directory, and its file handle. */
export interface Listed {
  readonly slot: number
  readonly path: Uint8Array
  /** Valid until the next one. */
  readonly handle: Uint8Array
}

/** The parts of the share that are read. */
interface Share {
  readonly inodes: InodeTable
  readonly procFd: number
}

/** The choice of directories and inodes, by slot. */
interface Wanted {
  directory(slot: number): boolean
  inode(slot: number): boolean
  /** Returns the path of a directory, given a descriptor of it. */
  pathOf(slot: number, fd: number): Uint8Array | undefined
}

/**
 * Yields the inodes that are found in the guest's directories, and undefined now and then. It ends early if most names are
 * those of other files.
 */
export function* listedNames(share: Share, wanted: Wanted): Generator<Listed | undefined> {
  const { inodes } = share
  const names = new KnownNames(share)
  const isWanted = (slot: number) => wanted.inode(slot)
  let read = 0
  try {
    for (const directory of inodes.known()) {
      if (inodes.typeOf(directory) !== TYPE_DIRECTORY || !wanted.directory(directory)) continue
      const pathFd = inodes.fdOf(directory)
      const parent = pathFd < 0 ? undefined : wanted.pathOf(directory, pathFd)
      if (parent === undefined || !names.open(directory, pathFd)) continue
      while (names.next(isWanted)) {
        if (++read % NAMES_PER_PIECE === 0) yield undefined
        if (names.isSpent) return
        const { slot, handle, bytes, nameAt } = names
        if (slot !== 0) yield { slot, path: joined(parent, bytes, nameAt, names.nameBytes), handle }
      }
    }
  } finally {
    names.close()
  }
}
