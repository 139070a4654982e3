import { errnoName, FATTR_SIZE, Opcode, OpenFlag, opcodeName, visible } from 'virtio-fs-ts/protocol'
import { openFlagNames } from '../inspect/inode-activity.js'
import type { TracedRequest } from '../inspect/trace-format.js'
import type { TimedRequest } from '../inspect/trace-reader.js'

/** Formats one request for people. */
export function requestLine({ request, epochMs }: TimedRequest): string {
  const words = [
    new Date(epochMs).toISOString().slice(11, 23),
    `q${request.queue}`,
    opcodeName(request.opcode).padEnd(12),
    `${request.latencyUs.toFixed(1).padStart(9)} us`,
    (request.error === 0 ? 'ok' : errnoName(-request.error)).padEnd(6),
    `${request.replyBytes}`.padStart(7),
    `node ${request.nodeid}`,
    ...(request.path === undefined ? [] : [visible(request.path || '.')]),
    ...detailsOf(request),
  ]
  return words.join('  ')
}

/** Range, flags and reply: what an operation asks for, without what differs between two sessions. */
export function requestWords(request: TracedRequest): string[] {
  const { opcode, flags, detailFlags, openFlags } = request
  const isOpen = opensFile.has(opcode)
  return [
    ...rangeOf(request),
    ...(flags !== 0 || isOpen ? [guestFlagNames(flags)] : []),
    ...(detailFlags !== 0 || opcode === Opcode.LSEEK ? [detailNames(opcode, detailFlags)] : []),
    ...(openFlags !== 0 ? [`-> ${openFlagNames(openFlags)}`] : []),
  ]
}

function detailsOf(request: TracedRequest): string[] {
  const { handle, overlap, faultId, pid } = request
  return [
    ...(handle !== 0 ? [`fh=${handle}`] : []),
    ...requestWords(request),
    ...(overlap > 1 ? [`overlap=${overlap}`] : []),
    ...(pid !== 0 ? [`pid=${pid}`] : []),
    ...(faultId !== 0 ? [`fault=${faultId}`] : []),
  ]
}

const opensFile: ReadonlySet<number> = new Set([Opcode.OPEN, Opcode.OPENDIR, Opcode.CREATE])
const movesData: ReadonlySet<number> = new Set([
  Opcode.READ,
  Opcode.WRITE,
  Opcode.READDIR,
  Opcode.READDIRPLUS,
  Opcode.FALLOCATE,
  Opcode.COPY_FILE_RANGE,
  Opcode.COPY_FILE_RANGE_64,
])

/** Formats length and offset as "512@4096". */
function rangeOf({ opcode, offsetBytes, sizeBytes, detailFlags }: TracedRequest): string[] {
  if (movesData.has(opcode)) return [`${sizeBytes}@${offsetBytes}`]
  if (opcode === Opcode.LSEEK) return [`@${offsetBytes}`]
  return opcode === Opcode.SETATTR && (detailFlags & FATTR_SIZE) !== 0 ? [`size=${sizeBytes}`] : []
}

/** Names of an operation's own flags, from bit 0 up (uapi fuse.h, falloc.h, fs.h). */
const detailBits: Readonly<Record<number, readonly string[]>> = {
  [Opcode.GETATTR]: ['GETATTR_FH'],
  [Opcode.READ]: ['0x1', 'READ_LOCKOWNER'],
  [Opcode.WRITE]: ['WRITE_CACHE', 'WRITE_LOCKOWNER', 'WRITE_KILL_SUIDGID'],
  [Opcode.RELEASE]: ['RELEASE_FLUSH', 'FLOCK_UNLOCK'],
  [Opcode.RELEASEDIR]: ['RELEASE_FLUSH', 'FLOCK_UNLOCK'],
  [Opcode.FSYNC]: ['FDATASYNC'],
  [Opcode.FSYNCDIR]: ['FDATASYNC'],
  [Opcode.OPEN]: ['KILL_SUIDGID'],
  [Opcode.CREATE]: ['KILL_SUIDGID'],
  [Opcode.RENAME2]: ['NOREPLACE', 'EXCHANGE', 'WHITEOUT'],
  [Opcode.FALLOCATE]: [
    'KEEP_SIZE',
    'PUNCH_HOLE',
    'NO_HIDE_STALE',
    'COLLAPSE_RANGE',
    'ZERO_RANGE',
    'INSERT_RANGE',
    'UNSHARE_RANGE',
  ],
  [Opcode.SETATTR]: [
    ...['MODE', 'UID', 'GID', 'SIZE', 'ATIME', 'MTIME', 'FH', 'ATIME_NOW', 'MTIME_NOW', 'LOCKOWNER'],
    ...['CTIME', 'KILL_SUIDGID'],
  ],
}
const whences = ['SEEK_SET', 'SEEK_CUR', 'SEEK_END', 'SEEK_DATA', 'SEEK_HOLE']

function detailNames(opcode: number, flags: number): string {
  if (opcode === Opcode.LSEEK) return whences[flags] ?? `whence=${flags}`
  const names = detailBits[opcode] ?? []
  const named = names.filter((_, bit) => (flags & (1 << bit)) !== 0)
  const rest = (flags & ~((1 << names.length) - 1)) >>> 0
  return [...named, ...(rest === 0 ? [] : [`0x${rest.toString(16)}`])].join('|')
}

const namedFlags = [
  'O_APPEND',
  'O_CREAT',
  'O_DIRECT',
  'O_DSYNC',
  'O_EXCL',
  'O_NOATIME',
  'O_NONBLOCK',
  'O_TRUNC',
] as const
const accessNames = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE']

/** Formats open flags by name: "O_RDWR|O_DIRECT". */
function guestFlagNames(flags: number): string {
  const set = namedFlags.filter((name) => (flags & OpenFlag[name]) === OpenFlag[name])
  return [accessNames[flags & OpenFlag.O_ACCMODE], ...set].join('|')
}
