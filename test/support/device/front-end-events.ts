import { DirtyPages, FrontendRequest } from 'vhost-user-ts/frontend'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import { resume, suspend } from './migrate.js'

const MIB = 1 << 20

/** What a front-end with four request queues does to a device while the guest goes on. */
export const frontEndEvents: Readonly<Record<string, (fs: FuseGuest) => void>> = {
  'a queue of another thread stops and starts': ({ frontend }) => {
    frontend.startQueue(2, frontend.stopQueue(2))
  },
  'a queue of the first thread stops and starts': ({ frontend }) => {
    frontend.startQueue(1, frontend.stopQueue(1))
  },
  'all queues stop and start': (fs) => resume(fs, suspend(fs)),
  'a queue is disabled and enabled': ({ frontend }) => {
    frontend.setState(FrontendRequest.SET_VRING_ENABLE, 4, 0)
    frontend.setState(FrontendRequest.SET_VRING_ENABLE, 4, 1)
  },
  'the addresses of a ring are sent again': ({ frontend }) => frontend.sendAddresses(3),
  'memory comes and goes': ({ frontend }) => {
    frontend.removeRegion(frontend.addRegion(MIB))
  },
  'the front-end sends all memory again': ({ frontend }) => frontend.sendMemoryTable(),
  'the front-end logs writes for a while': ({ frontend }) => new DirtyPages(frontend).end(),
}
