import * as native from 'virtiofsd-ts-native'
import { openPath } from './descriptors.js'

/** The file of the addon, by the name under which it is loaded. */
export const { addonPath } = native

/**
 * Prepares the calling thread for serving a host directory. The thread gets its own umask, which lets each mode of a guest
 * pass. Its working directory becomes `procFd` (/proc/self/fd), because calls on extended attributes name inodes by
 * descriptor.
 */
export function prepareOwnThread(procFd: number): void {
  native.detachFs()
  native.umask(0)
  native.enterDirectory(procFd)
}

/**
 * Runs `start`, which starts threads, on a thread that `prepareOwnThread` has prepared. A new thread shares the working directory
 * of the one that starts it, and Node asks for its name, which that of a sealed process does not have. So the new threads get
 * `/`, and then the calling one has a directory of its own again.
 */
export function withNamedDirectory(procFd: number, start: () => void): void {
  const root = openPath('/')
  try {
    native.enterDirectory(root)
    start()
  } finally {
    native.close(root)
    native.detachFs()
    native.enterDirectory(procFd)
  }
}
