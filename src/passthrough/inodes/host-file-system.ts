import * as native from 'virtiofsd-ts-native'

/** struct statfs: f_type is its first word. */
const STATFS_BYTES = 120

/** Magic numbers of file systems that live in memory: nothing on them waits for a device. */
const TMPFS_MAGIC = 0x01021994
const RAMFS_MAGIC = 0x858458f6

/** What is known of one of the host's file systems. */
export interface HostFileSystem {
  /** Files live in memory alone: reads, fsync and small changes of allocation return at once. */
  readonly inMemory: boolean
  /** preadv2 takes RWF_NOWAIT; cleared when it turns out not to. */
  nowaitReads: boolean
}

const scratch = new Int32Array(STATFS_BYTES / 4)

/** The host's file systems that inodes are on, by the inode table's number of a device. */
export class HostFileSystems {
  private readonly known: HostFileSystem[] = []

  /** The file system of a device; `fd` is any descriptor on it. */
  of(device: number, fd: number): HostFileSystem {
    let host = this.known[device]
    if (host === undefined) {
      host = ask(fd)
      this.known[device] = host
    }
    return host
  }

  /** Devices will be numbered anew. */
  clear(): void {
    this.known.length = 0
  }
}

function ask(fd: number): HostFileSystem {
  const type = native.fstatfs(fd, scratch) < 0 ? 0 : scratch[0] >>> 0
  const inMemory = type === TMPFS_MAGIC || type === RAMFS_MAGIC
  return { inMemory, nowaitReads: !inMemory }
}
