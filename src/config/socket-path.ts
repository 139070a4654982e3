import { SOCKET_PATH_MAX_BYTES } from 'vhost-user-ts/socket-path'
import { UserError } from './user-error.js'

/** Throws UserError, which begins with `where`, for a path that is too long for a socket. */
export function checkSocketPath(path: string, where: string): void {
  const lenBytes = Buffer.byteLength(path)
  if (lenBytes > SOCKET_PATH_MAX_BYTES)
    throw new UserError(`${where}: ${lenBytes} bytes, a socket path has at most ${SOCKET_PATH_MAX_BYTES}`)
}
