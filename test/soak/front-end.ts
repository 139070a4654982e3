import { Frontend } from 'vhost-user-ts/frontend'
import { FuseGuest } from '../support/fuse/fuse-guest.js'

const MIB = 1 << 20
const REGION_BYTES = [64 * MIB]
const TIMEOUT_MS = 60_000

/** A guest that has mounted the share: a priority queue and some for requests. */
export function connectGuest(socketPath: string, requestQueues = 2): FuseGuest {
  const frontend = new Frontend(socketPath, {
    indirect: true,
    eventIdx: true,
    regionBytes: REGION_BYTES,
    timeoutMs: TIMEOUT_MS,
  })
  frontend.negotiate()
  for (let n = 0; n <= requestQueues; n++) frontend.addQueue(256)
  const guest = new FuseGuest(frontend)
  guest.init()
  return guest
}
