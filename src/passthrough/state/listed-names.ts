import * as native from 'virtiofsd-ts-native'
import { DirectoryNames } from '../inodes/dirents.js'
import { type InodeTable, TYPE_DIRECTORY } from '../inodes/inode-table.js'
import { joined } from './joined-path.js'

const { O_DIRECTORY, O_NONBLOCK, O_RDONLY } = native.constants

/** Names read before everything else has its turn. */
const NAMES_PER_PIECE = 64
/** Names of other files that may be read on the way, and how many more for each one that was looked for. */
const SPARE_NAMES = 10_000
const SPARE_NAMES_EACH = 4

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

/**
 * Reads the directories that the guest knows and yields the inodes without a descriptor in them, directories excepted, and
 * undefined now and then. To open each of them and ask the kernel for its path takes several times as long. This way ends
 * early if most names are those of other files. `pathOf` returns the path of a directory, given its slot and a descriptor.
 */
export function* listedNames(
  { inodes, procFd }: Share,
  pathOf: (slot: number, fd: number) => Uint8Array | undefined,
): Generator<Listed | undefined> {
  const names = new DirectoryNames()
  let found = 0
  let others = 0
  let read = 0
  for (const directory of inodes.known()) {
    if (inodes.typeOf(directory) !== TYPE_DIRECTORY) continue
    const pathFd = inodes.fdOf(directory)
    const parent = pathFd < 0 ? undefined : pathOf(directory, pathFd)
    const fd =
      parent === undefined ? -1 : native.inodeOpen(procFd, pathFd, O_RDONLY | O_DIRECTORY | O_NONBLOCK)
    if (parent === undefined || fd < 0) continue
    const device = inodes.deviceOf(directory)
    try {
      for (let got = names.first(fd); got > 0; got = names.next(fd)) {
        if (++read % NAMES_PER_PIECE === 0) yield undefined
        // As an inode table has them: signed.
        const slot = inodes.slotAt(device, names.inoLow | 0, names.inoHigh | 0)
        if (slot === 0 && ++others > SPARE_NAMES + SPARE_NAMES_EACH * found) return
        const handle = slot === 0 ? undefined : inodes.fds.keptHandle(slot)
        const { bytes, nameAt } = names
        // The number of a deleted file may be another's by now, and a mount may hide the file.
        if (handle === undefined || !inodes.fds.isFile(slot, fd, bytes, nameAt)) continue
        found++
        // Directories are few, and may be mount points: the kernel is asked for their paths.
        if (inodes.typeOf(slot) === TYPE_DIRECTORY) continue
        yield { slot, path: joined(parent, bytes, nameAt, names.nameBytes), handle }
      }
    } finally {
      native.close(fd)
    }
  }
}
