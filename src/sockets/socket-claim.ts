import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { constants as os } from 'node:os'
import { dirname } from 'node:path'
import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { codeOf } from '../basics/errors.js'
import { UserError } from '../config/user-error.js'

/** Only the owner may connect: every client acts as the user that runs this process. */
const SOCKET_MODE = 0o600
const SOCKET_MODE_WITH_GROUP = 0o660
const OTHERS_MAY_WRITE = 0o002
const STICKY = 0o1000

const PID_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A listening socket. If it has a path, a lock on PATH.pid protects it, and `release` removes both files. */
export interface SocketClaim {
  readonly listenFd: number
  /** Holds the lock as long as any copy of it is open. */
  readonly lockFd: number | undefined
  /** The files of the socket and of the lock. */
  readonly files: readonly string[]
  release(): void
}

/** Further steps while a socket is claimed. */
export interface ClaimHooks {
  /** The process to name in the pid file; undefined: this one. */
  readonly pid?: number
  /** Called before PATH.pid is made. */
  announced(path: string): void
  /** Called when PATH.pid is locked, before PATH is made. The caller keeps `lockFd`. */
  locked(path: string, lockFd: number): void
  /** Called if PATH cannot be made after all: whatever is there belongs to others. */
  failed(path: string): void
}

/** Takes an inherited listening socket; its files belong to the starting process. */
export function inheritSocket(listenFd: number): SocketClaim {
  return { listenFd, lockFd: undefined, files: [], release: () => {} }
}

/**
 * Listens at `path`, the value of `option`; the group `gid` may connect too. Replaces a socket file without a
 * listener. Throws UserError if a live process uses the path, if something else is there, or if the directory is not
 * writable.
 */
export function claimSocket(path: string, option: string, gid?: number, hooks?: ClaimHooks): SocketClaim {
  const pidPath = `${path}.pid`
  const where = `${option} ${path}`
  if (gid !== undefined) expectOwnDirectory(path, where)
  hooks?.announced(path)
  const lockFd = lock(pidPath, path, where, hooks?.pid ?? process.pid)
  try {
    hooks?.locked(path, lockFd)
    removeStale(path, where)
    const listenFd = native.unixListen(path, SOCKET_MODE)
    if (listenFd < 0) throw cannotListen(where, listenFd)
    if (gid !== undefined) giveToGroup(path, gid, where, listenFd)
    const files = [path, pidPath]
    return { listenFd, lockFd, files, release: () => removeFiles(files) }
  } catch (error) {
    unlinkQuietly(pidPath)
    closeSync(lockFd)
    hooks?.failed(path)
    throw error
  }
}

/** Listens at `path`, which belongs to a socket that this process has claimed. Throws UserError. */
export function claimBeside(path: string, option: string): number {
  const where = `${option} ${path}`
  removeStale(path, where)
  const listenFd = native.unixListen(path, SOCKET_MODE)
  if (listenFd < 0) throw cannotListen(where, listenFd)
  return listenFd
}

/** Opens and locks the pid file; the lock lasts as long as this process. */
function lock(pidPath: string, path: string, where: string, pid: number): number {
  for (;;) {
    const fd = openPid(pidPath, path, where)
    const result = native.lockFile(fd)
    if (result < 0) {
      closeSync(fd)
      throw new UserError(`${where}: in use by another process (it holds ${pidPath})`)
    }
    // The last owner may have removed the file between our open and our lock: such a lock protects nothing.
    const stat = fstatSync(fd)
    if (lstatSync(pidPath, { throwIfNoEntry: false })?.ino === stat.ino) {
      writePid(fd, stat, pidPath, where, pid)
      return fd
    }
    closeSync(fd)
  }
}

/** Refuses a file with another name, since writing would destroy that file's contents. */
function writePid(fd: number, stat: Stats, pidPath: string, where: string, pid: number): void {
  if (!stat.isFile() || stat.nlink !== 1) {
    closeSync(fd)
    throw new UserError(`${where}: ${pidPath} is not a regular file with one name`)
  }
  try {
    ftruncateSync(fd)
    writeSync(fd, `${pid}\n`)
  } catch (error) {
    unlinkQuietly(pidPath)
    closeSync(fd)
    throw new UserError(`${where}: ${pidPath} cannot be written (${codeOf(error)})`)
  }
}

function openPid(pidPath: string, path: string, where: string): number {
  try {
    return openSync(pidPath, PID_FLAGS, 0o600)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT') throw new UserError(`${where}: there is no directory ${dirname(path)}`)
    if (code === 'EACCES') throw new UserError(`${where}: this user cannot write to ${dirname(path)}`)
    throw new UserError(`${where}: ${pidPath} cannot be made (${code})`)
  }
}

function removeStale(path: string, where: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new UserError(`${where}: exists and is no socket`)
  const fd = native.unixConnect(path, native.constants.O_NONBLOCK)
  if (fd >= 0) native.close(fd)
  // A socket with a full backlog has a listener, too.
  if (fd >= 0 || fd === -os.errno.EAGAIN) {
    throw new UserError(`${where}: another process listens there`)
  }
  if (fd === -os.errno.ECONNREFUSED) unlinkQuietly(path)
}

/** A user who can write to the directory can replace this socket by another, unless the directory is sticky. */
function expectOwnDirectory(path: string, where: string): void {
  const stat = statSync(dirname(path), { throwIfNoEntry: false })
  if (stat === undefined || (stat.mode & OTHERS_MAY_WRITE) === 0 || (stat.mode & STICKY) !== 0) return
  throw new UserError(
    `${where}: everybody may write to ${dirname(path)} and replace the socket: a group gets none there`,
  )
}

/**
 * Sets the group first: until the mode changes, only the owner may connect. Uses a descriptor, because the
 * directory's owner may have replaced the file at the path.
 */
function giveToGroup(path: string, gid: number, where: string, listenFd: number): void {
  let fd = -1
  try {
    fd = openSync(path, native.constants.O_PATH | constants.O_NOFOLLOW)
    if (!isOurSocket(fstatSync(fd))) throw new UserError(`${where}: something else has taken its place`)
    const itself = `/proc/self/fd/${fd}`
    chownSync(itself, -1, gid)
    chmodSync(itself, SOCKET_MODE_WITH_GROUP)
  } catch (error) {
    native.close(listenFd)
    unlinkQuietly(path)
    if (error instanceof UserError) throw error
    throw new UserError(`${where}: cannot be given to the group ${gid} (${codeOf(error)})`)
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

/** Returns true for a socket as this process has just made it, with one name. */
function isOurSocket(stat: Stats): boolean {
  return stat.isSocket() && stat.uid === process.geteuid?.() && stat.nlink === 1
}

function cannotListen(where: string, result: number): UserError {
  return new UserError(`${where}: cannot listen there (${errnoName(-result)})`)
}

/** Removes the files that still exist. */
export function removeFiles(paths: readonly string[]): void {
  paths.forEach(unlinkQuietly)
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}
