import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'
import type { EventLoop } from './event-loop.js'

/** Wakes an event loop from another thread: each has a Wakeup of the same descriptor, an eventfd. */
export class Wakeup {
  /** Without `fd`, makes one. Throws SystemCallError when that cannot be. */
  constructor(readonly fd = mustSucceed('eventfd', native.eventfdCreate(native.constants.EFD_NONBLOCK))) {}

  send(): void {
    native.eventfdSignal(this.fd)
  }

  /** Calls `handler` while the loop waits, at least once after each `send`. */
  receive(loop: EventLoop, handler: () => void): void {
    loop.addReadable(this.fd, () => {
      native.eventfdDrain(this.fd)
      handler()
    })
  }
}
