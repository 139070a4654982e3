import * as native from 'virtiofsd-ts-native'
import { Backend } from './backend.js'
import type { BackendOptions } from './backend-options.js'
import type { VhostUserDevice } from './device.js'
import { mustSucceed } from './errors.js'
import { listenAt } from './listen-at.js'

/**
 * Listens at `socketPath`, serves the first front-end that connects until it leaves, then returns. Blocks the thread:
 * run it in a worker if the main thread has other work. Throws SystemCallError if it cannot listen.
 */
export function serve(socketPath: string, device: VhostUserDevice, options: BackendOptions = {}): void {
  const listenFd = listenAt(socketPath)
  const fd = mustSucceed('accept', native.unixAccept(listenFd))
  native.close(listenFd)
  new Backend(device, options).serve(fd)
}
