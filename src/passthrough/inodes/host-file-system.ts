import * as native from 'virtiofsd-ts-native'
import type { DeviceNumbers } from './device-numbers.js'

/** struct statfs. Its first word is f_type. */
const STATFS_BYTES = 120

/** Magic numbers of file systems in memory: nothing on them waits for a device. */
const TMPFS_MAGIC = 0x01021994
const RAMFS_MAGIC = 0x858458f6

/** Each directory of autofs is one over which a file system is mounted when somebody walks into it. */
const AUTOFS_MAGIC = 0x00000187

/** Magic numbers of the common local file systems. */
const EXT_MAGIC = 0x0000ef53 // ext2, ext3, ext4
const XFS_MAGIC = 0x58465342
const BTRFS_MAGIC = 0x9123683e
const F2FS_MAGIC = 0xf2f52010

/** Magic numbers of file systems whose regular files take no notice of O_NONBLOCK in a system call. */
const nonblockBlind: ReadonlySet<number> = new Set([
  TMPFS_MAGIC,
  RAMFS_MAGIC,
  EXT_MAGIC,
  XFS_MAGIC,
  BTRFS_MAGIC,
  F2FS_MAGIC,
])

/** The time for which a file handle can be opened. */
export enum HandleLife {
  /** As long as its file exists. */
  AsFile,
  /** Unknown. */
  Unknown,
  /** Only while the file system has the inode in its cache. */
  AsCache,
}

/** Magic numbers of local file systems whose file handles last as long as their files. */
const lasting: ReadonlySet<number> = new Set([
  TMPFS_MAGIC,
  EXT_MAGIC,
  XFS_MAGIC,
  BTRFS_MAGIC,
  F2FS_MAGIC,
  0xca451a4e, // bcachefs
  0x2fc12fc1, // zfs
  0x3153464a, // jfs
  0x73717368, // squashfs
  0xe0f5e1e2, // erofs
  0x00009660, // iso9660
])

/** File systems that find handles only in their inode cache: FUSE (which includes virtiofs and bindfs), FAT and others. */
const cached: ReadonlySet<number> = new Set([
  0x65735546, // fuse
  0x00004d44, // msdos, vfat
  0x2011bab0, // exfat
  0x01021997, // 9p
  0xff534d42, // cifs
  0xfe534d42, // smb2
])

/**
 * Magic numbers of file systems whose files are made when they are read. Their size is 0, or that of a page, whatever is in
 * them.
 */
const generated: ReadonlySet<number> = new Set([
  0x00009fa0, // proc
  0x62656572, // sysfs
  0x0027e0eb, // cgroup
  0x63677270, // cgroup2
  0x64626720, // debugfs
  0x74726163, // tracefs
  0x62656570, // configfs
  0x73636673, // securityfs
  0xf97cff8c, // selinuxfs
  0x42494e4d, // binfmt_misc
])

/** Properties of one host file system. */
export interface HostFileSystem {
  /** All files are in memory: reads, fsync and small allocation changes return at once. */
  readonly inMemory: boolean
  /** It has nothing but places for other file systems, which the host mounts on demand. */
  readonly isAutofs: boolean
  /** The size of a file does not tell where it ends. */
  readonly isGenerated: boolean
  /** Reading and writing a file is the same with O_NONBLOCK as without, except through io_uring. */
  readonly ignoresNonblock: boolean
  /** preadv2 takes RWF_NOWAIT. Cleared after a refusal. */
  nowaitReads: boolean
  /** Becomes AsCache after a handle has died before its file. */
  handleLife: HandleLife
}

const scratch = new Int32Array(STATFS_BYTES / 4)

/** The host file systems that hold inodes, by the inode table's device number. */
export class HostFileSystems {
  private readonly known = new Map<number, HostFileSystem>()
  private changes = 0

  /** `devices`: says which devices another thread has forgotten. */
  constructor(private readonly devices: Pick<DeviceNumbers, 'changes' | 'isUsed'>) {}

  /** Returns the file system of a device. `fd` is any descriptor on it. */
  of(device: number, fd: number): HostFileSystem {
    let host = this.known.get(device)
    if (host === undefined) {
      host = hostFileSystemAt(fd)
      this.forgetEnded()
      this.known.set(device, host)
    }
    return host
  }

  /** The number of devices whose file systems are known. */
  get count(): number {
    return this.known.size
  }

  /** Forgets devices that have ended on other threads. */
  private forgetEnded(): void {
    const { devices, known } = this
    const { changes } = devices
    if (changes === this.changes) return
    this.changes = changes
    for (const device of known.keys()) if (!devices.isUsed(device)) known.delete(device)
  }

  /** Returns how long handles of a device last, or Unknown if the device is. */
  lifeOn(device: number): HandleLife {
    return this.known.get(device)?.handleLife ?? HandleLife.Unknown
  }

  /** The guest has no more inodes on a device. */
  forget(device: number): void {
    this.known.delete(device)
  }

  /** Clears the table, because devices get new numbers. */
  clear(): void {
    this.known.clear()
  }
}

/** Asks the host for the file system of `fd`. */
export function hostFileSystemAt(fd: number): HostFileSystem {
  const type = native.fstatfs(fd, scratch) < 0 ? 0 : scratch[0] >>> 0
  const inMemory = type === TMPFS_MAGIC || type === RAMFS_MAGIC
  const ignoresNonblock = nonblockBlind.has(type)
  const isAutofs = type === AUTOFS_MAGIC
  const isGenerated = generated.has(type)
  const handleLife = handleLifeOf(type)
  return { inMemory, isAutofs, isGenerated, ignoresNonblock, nowaitReads: !inMemory, handleLife }
}

/** Asks the host how long the file handle of `fd` lasts. */
export function handleLifeAt(fd: number): HandleLife {
  return hostFileSystemAt(fd).handleLife
}

function handleLifeOf(type: number): HandleLife {
  if (lasting.has(type)) return HandleLife.AsFile
  return cached.has(type) ? HandleLife.AsCache : HandleLife.Unknown
}
