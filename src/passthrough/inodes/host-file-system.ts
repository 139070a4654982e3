import * as native from 'virtiofsd-ts-native'

/** struct statfs: f_type is its first word. */
const STATFS_BYTES = 120

/** Magic numbers of file systems that live in memory: nothing on them waits for a device. */
const TMPFS_MAGIC = 0x01021994
const RAMFS_MAGIC = 0x858458f6

/** Whether a file handle can be opened as long as its file is there. */
export enum HandleLife {
  /** Yes. */
  AsFile,
  /** Not known. */
  Unknown,
  /** No: only as long as the file system has the inode in its cache. */
  AsCache,
}

/** Magic numbers of local file systems whose file handles are good as long as their files. */
const lasting: ReadonlySet<number> = new Set([
  TMPFS_MAGIC,
  0x0000ef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0xf2f52010, // f2fs
  0xca451a4e, // bcachefs
  0x2fc12fc1, // zfs
  0x3153464a, // jfs
  0x73717368, // squashfs
  0xe0f5e1e2, // erofs
  0x00009660, // iso9660
])

/** Of file systems that find an inode by its handle in their cache alone: FUSE, which includes virtiofs and bindfs, and FAT. */
const cached: ReadonlySet<number> = new Set([
  0x65735546, // fuse
  0x00004d44, // msdos, vfat
  0x2011bab0, // exfat
  0x01021997, // 9p
  0xff534d42, // cifs
  0xfe534d42, // smb2
])

/** What is known of one of the host's file systems. */
export interface HostFileSystem {
  /** Files live in memory alone: reads, fsync and small changes of allocation return at once. */
  readonly inMemory: boolean
  /** preadv2 takes RWF_NOWAIT; cleared when it turns out not to. */
  nowaitReads: boolean
  /** Becomes AsCache when a handle turns out to have died before its file. */
  handleLife: HandleLife
}

const scratch = new Int32Array(STATFS_BYTES / 4)

/** The host's file systems that inodes are on, by the inode table's number of a device. */
export class HostFileSystems {
  private readonly known = new Map<number, HostFileSystem>()

  /** The file system of a device; `fd` is any descriptor on it. */
  of(device: number, fd: number): HostFileSystem {
    let host = this.known.get(device)
    if (host === undefined) {
      host = ask(fd)
      this.known.set(device, host)
    }
    return host
  }

  /** The guest has no inode of a device any more. */
  forget(device: number): void {
    this.known.delete(device)
  }

  /** Devices will be numbered anew. */
  clear(): void {
    this.known.clear()
  }
}

function ask(fd: number): HostFileSystem {
  const type = native.fstatfs(fd, scratch) < 0 ? 0 : scratch[0] >>> 0
  const inMemory = type === TMPFS_MAGIC || type === RAMFS_MAGIC
  return { inMemory, nowaitReads: !inMemory, handleLife: handleLifeOf(type) }
}

/** Asks the host how long the file handle of what `fd` stands for is good. */
export function handleLifeAt(fd: number): HandleLife {
  return ask(fd).handleLife
}

function handleLifeOf(type: number): HandleLife {
  if (lasting.has(type)) return HandleLife.AsFile
  return cached.has(type) ? HandleLife.AsCache : HandleLife.Unknown
}
