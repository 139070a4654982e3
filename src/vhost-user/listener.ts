import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'
import { SOCKET_PATH_MAX_BYTES } from './socket-path.js'

const { O_NONBLOCK } = native.constants

/** A unix socket that listens, and whose connections are taken without waiting. */
export class Listener {
  /** `fd` stays the caller's. */
  constructor(readonly fd: number) {
    native.setStatusFlags(fd, native.statusFlags(fd) | O_NONBLOCK)
  }

  /** Takes a connection. Returns its descriptor, which is the caller's, or -EAGAIN, or another negative errno. */
  accept(): number {
    return native.unixAccept(this.fd)
  }
}

/**
 * The path of a unix socket that listens at the descriptor `fd`, which stays the caller's; empty for one without a path.
 * Throws SystemCallError for any other descriptor.
 */
export function listenerPath(fd: number): string {
  const bytes = new Uint8Array(SOCKET_PATH_MAX_BYTES + 1)
  const lenBytes = mustSucceed(
    `descriptor ${fd} as a socket that listens`,
    native.unixListenerPath(fd, bytes),
  )
  return new TextDecoder().decode(bytes.subarray(0, lenBytes))
}
