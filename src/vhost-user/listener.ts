import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'
import { SOCKET_PATH_MAX_BYTES } from './socket-path.js'

const { O_NONBLOCK } = native.constants

/** A listening unix socket that accepts connections without waiting. */
export class Listener {
  /** The caller keeps `fd`. */
  constructor(readonly fd: number) {
    native.setStatusFlags(fd, native.statusFlags(fd) | O_NONBLOCK)
  }

  /** Accepts a connection. Returns its descriptor, which the caller owns, or -EAGAIN or another negative errno. */
  accept(): number {
    return native.unixAccept(this.fd)
  }

  /** Stops listening: connections that wait are refused. For a caller that gives up `fd`. */
  close(): void {
    native.close(this.fd)
  }
}

/**
 * Returns the path of the unix socket that listens at `fd`, or "" if it has none. The caller keeps `fd`. Throws
 * SystemCallError for any other descriptor.
 */
export function listenerPath(fd: number): string {
  const bytes = new Uint8Array(SOCKET_PATH_MAX_BYTES + 1)
  const lenBytes = mustSucceed(
    `descriptor ${fd} as a socket that listens`,
    native.unixListenerPath(fd, bytes),
  )
  return new TextDecoder().decode(bytes.subarray(0, lenBytes))
}
