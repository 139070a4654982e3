import * as native from 'virtiofsd-ts-native'

/**
 * Prepares the calling thread for serving a directory of the host: the thread's umask is its own from here on and lets every
 * mode that a guest asks for pass, and the thread's working directory is `procFd`, /proc/self/fd, because calls on extended
 * attributes name inodes by their descriptors.
 */
export function prepareOwnThread(procFd: number): void {
  native.detachFs()
  native.umask(0)
  native.enterDirectory(procFd)
}
