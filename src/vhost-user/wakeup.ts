import * as native from 'virtiofsd-ts-native'
import { mustSucceed } from './errors.js'
import type { EventLoop } from './event-loop.js'

/** Wakes an event loop from another thread: both threads have a Wakeup of the same eventfd. */
export class Wakeup {
  /** Makes an eventfd if `fd` is not given. Throws SystemCallError on failure. */
  constructor(readonly fd = mustSucceed('eventfd', native.eventfdCreate(native.constants.EFD_NONBLOCK))) {}

  send(): void {
    native.eventfdSignal(this.fd)
  }

  /** Sends when the calling thread ends, even if its JavaScript cannot go on. Throws SystemCallError on failure. */
  sendAtEnd(): void {
    mustSucceed('eventfd', native.eventfdSignalAtEnd(this.fd))
  }

  /** Returns true if it was sent since the last call. */
  take(): boolean {
    return native.eventfdDrain(this.fd) > 0
  }

  /** Closes the eventfd. Call it once, when no thread uses it any more. */
  close(): void {
    native.close(this.fd)
  }

  /** Calls `handler` while the loop waits, at least once after each `send`. */
  receive(loop: EventLoop, handler: () => void): void {
    loop.addReadable(this.fd, () => {
      this.take()
      handler()
    })
  }
}
