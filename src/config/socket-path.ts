import { SOCKET_PATH_MAX_BYTES } from 'vhost-user-ts/socket-path'
import { UserError } from './user-error.js'

export function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES
}

/** Throws UserError, which begins with `where`, for a path that is too long for a socket. */
export function checkSocketPath(path: string, where: string): void {
  if (!fitsSocket(path))
    throw new UserError(
      `${where}: ${Buffer.byteLength(path)} bytes, a socket path has at most ${SOCKET_PATH_MAX_BYTES}`,
    )
}
