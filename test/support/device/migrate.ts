import { loadState, saveState } from 'vhost-user-ts/frontend'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import type { Device } from './device.js'

/** Stops every queue, as QEMU does. Returns the indices at which they stopped. */
export function suspend({ frontend }: FuseGuest): number[] {
  return frontend.queues.map((_, index) => frontend.stopQueue(index))
}

/** Starts the queues again where they stopped. */
export function resume({ frontend }: FuseGuest, bases: readonly number[]): void {
  bases.forEach((base, index) => {
    frontend.startQueue(index, base)
  })
}

/** Moves a guest to another device, and disconnects from the first. Throws ProtocolError if one of them refuses. */
export function migrate(
  fs: FuseGuest,
  to: Pick<Device, 'socketPath'>,
  onTheWay = (): void => {},
): Uint8Array {
  const bases = suspend(fs)
  const state = saveState(fs.frontend)
  onTheWay()
  const before = fs.frontend.moveTo(to.socketPath)
  try {
    loadState(fs.frontend, state)
    resume(fs, bases)
  } finally {
    before.close()
  }
  return state
}
