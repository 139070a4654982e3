import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { UserError } from './config/user-error.js'
import { errnoName } from './fuse/errno.js'

/** Only the owner may connect: whoever does is served as the user that runs this process. */
const SOCKET_MODE = 0o600

/** A listening socket at a path, held by a lock on PATH.pid; both files go with `release`. */
export interface SocketClaim {
  readonly listenFd: number
  release(): void
}

/**
 * Listens at `path`. A socket file that nobody listens at any more is replaced. Throws UserError when a live process
 * has the path, when something that is no socket is there, or when the directory cannot be written.
 */
export function claimSocket(path: string): SocketClaim {
  const pidPath = `${path}.pid`
  const lockFd = lock(pidPath, path)
  try {
    removeStale(path)
    const listenFd = native.unixListen(path, SOCKET_MODE)
    if (listenFd < 0) throw cannotListen(path, listenFd)
    return { listenFd, release: () => release(path, pidPath) }
  } catch (error) {
    unlinkQuietly(pidPath)
    closeSync(lockFd)
    throw error
  }
}

/** Opens and locks the pid file; the lock lasts as long as this process. */
function lock(pidPath: string, path: string): number {
  for (;;) {
    const fd = openPid(pidPath, path)
    const result = native.lockFile(fd)
    if (result < 0) {
      closeSync(fd)
      throw new UserError(`--socket-path ${path}: in use by another process (it holds ${pidPath})`)
    }
    // The last owner may have removed the file between our open and our lock: then this lock protects nothing.
    if (statSync(pidPath, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
      ftruncateSync(fd)
      writeSync(fd, `${process.pid}\n`)
      return fd
    }
    closeSync(fd)
  }
}

function openPid(pidPath: string, path: string): number {
  try {
    return openSync(pidPath, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UserError(`--socket-path ${path}: ${pidPath} cannot be made (${code})`)
  }
}

function removeStale(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new UserError(`--socket-path ${path}: exists and is no socket`)
  const fd = native.unixConnect(path)
  if (fd >= 0) {
    native.close(fd)
    throw new UserError(`--socket-path ${path}: another process listens there`)
  }
  if (fd === -os.errno.ECONNREFUSED) unlinkQuietly(path)
}

function cannotListen(path: string, result: number): UserError {
  return new UserError(`--socket-path ${path}: cannot listen there (${errnoName(-result)})`)
}

function release(path: string, pidPath: string): void {
  unlinkQuietly(path)
  unlinkQuietly(pidPath)
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
