import { setTimeout as sleep } from 'node:timers/promises'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { INJECTED, type Load } from './load.js'
import type { SoakDevice } from './soak-device.js'

const MIB = 1 << 20
const ALL_BUT_SESSION = [
  'LOOKUP',
  'OPEN',
  'READ',
  'WRITE',
  'SETATTR',
  'GETATTR',
  'RENAME2',
  'UNLINK',
  'CREATE',
  'FSYNC',
]

/** The running parts; faults replace some of them. */
export interface SoakState {
  device: SoakDevice
  guest: FuseGuest
  readonly load: Load
  restart(): Promise<SoakDevice>
  /** Connects a new guest to the device. */
  connect(): FuseGuest
}

type SoakFault = (state: SoakState) => Promise<void> | void

/** The faults, by name. After each the load goes on, and data of answered requests must not be lost. */
export const faults: Readonly<Record<string, SoakFault>> = {
  'errors injected': ({ device }) =>
    device.ask('fault-add', { opcodes: ALL_BUT_SESSION, errno: INJECTED, probability: 0.05, limit: 50 }),
  'short reads and writes': ({ device }) =>
    device.ask('fault-add', { opcodes: ['READ', 'WRITE'], shortBytes: 1000, probability: 0.2, limit: 50 }),
  'a gate for writes': ({ device }) =>
    device.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 3, timeoutMs: 30 }, limit: 60 }),
  'slow reads': ({ device }) =>
    device.ask('fault-add', { opcodes: ['READ'], delay: { uniformMs: [0, 5] }, limit: 100 }),
  'faults cleared': ({ device }) => device.ask('fault-clear'),
  'memory added and removed': ({ guest }) => guest.frontend.removeRegion(guest.frontend.addRegion(4 * MIB)),
  'memory replaced': ({ guest }) => guest.frontend.sendMemoryTable(),
  'queue stopped and started': ({ guest: { frontend } }) => frontend.startQueue(1, frontend.stopQueue(1)),
  'a message that is refused': ({ guest: { frontend } }) => {
    try {
      frontend.setState(FrontendRequest.SET_VRING_NUM, 1, 3)
    } catch {
      return
    }
    throw new Error('a queue size of 3 was taken')
  },
  'a remount': ({ guest }) => {
    guest.init()
  },
  'an unmount, and a mount': ({ guest }) => {
    guest.destroy()
    guest.init()
  },
  'a reset of the device': ({ guest }) => {
    guest.frontend.request(FrontendRequest.RESET_DEVICE, 0)
    guest.restartQueues()
    guest.init()
  },
  'a device that stands still': async ({ device }) => {
    device.signal('SIGSTOP')
    await sleep(50)
    device.signal('SIGCONT')
  },
  'a front-end that vanishes': async (state) => {
    state.load.leaveWritesUnanswered(state.guest)
    state.guest.close()
    state.load.abandon()
    await state.device.fdCountAtRest()
    state.load.checkOnHost()
    state.guest = state.connect()
  },
  'kill -9 of the device': async (state) => {
    state.load.leaveWritesUnanswered(state.guest)
    state.device.signal('SIGKILL')
    await state.device.ended()
    state.guest.close()
    state.load.abandon()
    state.load.checkOnHost()
    state.device = await state.restart()
    state.guest = state.connect()
  },
}
