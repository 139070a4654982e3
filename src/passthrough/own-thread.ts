import * as native from 'virtiofsd-ts-native'

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
