import { listenerPath, SystemCallError } from 'vhost-user-ts'
import { errnoName } from 'virtio-fs-ts/protocol'
import type { Configuration } from '../config/configuration.js'
import { UserError } from '../config/user-error.js'
import type { ShareConfig } from '../share/share-config.js'

/**
 * Completes a configuration with the paths of inherited sockets. Throws UserError if a descriptor is not a listening
 * socket.
 */
export function withInheritedPaths(configuration: Configuration): Configuration {
  return { ...configuration, shares: configuration.shares.map(withPath) }
}

function withPath(share: ShareConfig): ShareConfig {
  const { inheritedFd } = share
  return inheritedFd === undefined ? share : { ...share, socketPath: pathOfListener(inheritedFd) }
}

/** Returns the socket's path, or "" if it has none. */
function pathOfListener(fd: number): string {
  try {
    return listenerPath(fd)
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error
    throw new UserError(`--fd ${fd}: not a unix socket that listens (${errnoName(error.errno)})`)
  }
}
