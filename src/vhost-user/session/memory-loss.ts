import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from '../errors.js'
import type { EventLoop } from '../event-loop.js'
import type { Logger } from '../logger.js'
import type { BackendSession } from './backend-session.js'
import type { Connection } from './connection.js'

/**
 * Disconnects a front-end that truncates a file which it shares, its guest's memory or its log. The addon has put zeros in
 * the place of what is gone. Returns a function that ends this.
 */
export function watchForLoss(
  loop: EventLoop,
  connection: Connection,
  session: BackendSession,
  log: Logger,
): () => void {
  // Each connection of a thread has its own descriptor, and hears of all losses on the thread.
  const fd = mustSucceed('dup', native.dup(native.lostMemoryFd()))
  const check = () => {
    if (connection.closed || !session.isMemoryLost) return
    log.error({}, 'front-end has truncated the file of its memory or its log: closed')
    connection.closed = true
  }
  const { EPOLLIN, EPOLLET } = native.constants
  // The counter is never drained, since others wait for it.
  mustSucceed('epoll_ctl', loop.add(fd, EPOLLIN | EPOLLET, check))
  return () => {
    loop.remove(fd)
    native.close(fd)
  }
}
