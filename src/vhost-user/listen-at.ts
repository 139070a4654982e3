import { lstatSync, unlinkSync } from 'node:fs'
import { constants as os } from 'node:os'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'

const { EADDRINUSE, ECONNREFUSED } = os.errno

/** Owner only: everyone who can connect can read and write the device. */
const SOCKET_MODE = 0o600

/**
 * Listens at `socketPath`. Replaces a socket file that has no listener: a process that was killed leaves one behind. Throws
 * SystemCallError; EADDRINUSE if a process listens there, or if the file is no socket.
 */
export function listenAt(socketPath: string): number {
  let fd = native.unixListen(socketPath, SOCKET_MODE)
  if (fd === -EADDRINUSE && isLeftBehind(socketPath)) {
    unlinkSync(socketPath)
    fd = native.unixListen(socketPath, SOCKET_MODE)
  }
  return mustSucceed(`listening at ${socketPath}`, fd)
}

/** Returns true for a socket file without a listener. A listener does not notice the attempt: it gets no datagrams. */
function isLeftBehind(socketPath: string): boolean {
  if (lstatSync(socketPath, { throwIfNoEntry: false })?.isSocket() !== true) return false
  const fd = native.unixDatagramConnect(socketPath)
  if (fd >= 0) native.close(fd)
  return fd === -ECONNREFUSED
}
