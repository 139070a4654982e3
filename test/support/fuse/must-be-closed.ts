import type { Test } from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import type { FuseGuest } from './fuse-guest.js'

/** Waits until the device has closed the connection. */
export function mustBeClosed(t: Test, fs: FuseGuest): void {
  t.throws(() => {
    for (;;) fs.frontend.getU64(FrontendRequest.GET_FEATURES)
  }, /closed the connection|EPIPE/)
  fs.close()
}
