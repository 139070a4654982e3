import type { VhostUserDevice } from '../device.js'
import { ProtocolError, StateError } from '../errors.js'
import type { EventLoop } from '../event-loop.js'
import type { FaultLog } from '../logger.js'
import {
  VHOST_TRANSFER_STATE_DIRECTION_LOAD,
  VHOST_TRANSFER_STATE_DIRECTION_SAVE,
  VHOST_TRANSFER_STATE_PHASE_STOPPED,
} from '../protocol.js'
import { type Connection, expect, type Message } from './connection.js'
import { LoadedState, mustBePipe, SavedState, type StateTransfer } from './state-transfer.js'
import { DeviceStateTransfer } from './wire.js'

/** A device with a state that can move. */
export type MovableDevice = VhostUserDevice & Required<Pick<VhostUserDevice, 'saveState' | 'loadState'>>

export function isMovable(device: VhostUserDevice): device is MovableDevice {
  return device.saveState !== undefined && device.loadState !== undefined
}

/** The services of the back-end for transfers. */
export interface TransferHost {
  readonly loop: EventLoop
  /** Receives a device's failure in a promise. Absent: promises cannot settle. */
  readonly failed?: (error: unknown) => void
}

/** The transfers of one connection (DEVICE_STATE): one at a time. */
export class DeviceState {
  private current: StateTransfer | undefined
  /** CHECK_DEVICE_STATE has come before the end of the transfer. */
  private isAwaited = false

  constructor(
    private readonly device: MovableDevice,
    private readonly connection: Connection,
    private readonly host: TransferHost,
    private readonly faults: FaultLog,
    /** Answers a CHECK_DEVICE_STATE that had to wait. */
    private readonly answer: (good: boolean) => void,
  ) {}

  get isUnderWay(): boolean {
    return this.current !== undefined && !this.current.over
  }

  /** SET_DEVICE_STATE_FD. A transfer under way ends: the front-end has given it up. Throws ProtocolError. */
  start(message: Message): void {
    expect(message, DeviceStateTransfer.BYTES, 1)
    const { payload } = message
    const direction = DeviceStateTransfer.direction(payload)
    const phase = DeviceStateTransfer.phase(payload)
    const saves = direction === VHOST_TRANSFER_STATE_DIRECTION_SAVE
    if (!saves && direction !== VHOST_TRANSFER_STATE_DIRECTION_LOAD)
      throw new ProtocolError('BAD_PAYLOAD', `direction ${direction} is not 0 or 1`)
    if (phase !== VHOST_TRANSFER_STATE_PHASE_STOPPED)
      throw new ProtocolError('BAD_PAYLOAD', `phase ${phase} is not 0`)
    mustBePipe(message.fds[0], saves)
    this.abort('the front-end began another transfer')
    this.current = this.make(saves ? SavedState : LoadedState, message.fds[0])
    // Taken only now: the connection closes the descriptor of a refused message.
    this.connection.takeFd(message, 0)
    this.current.begin()
  }

  /** CHECK_DEVICE_STATE. Returns true if the last transfer was good, or undefined if `answer` will tell. */
  check(message: Message): boolean | undefined {
    expect(message, 0, 0)
    if (this.current === undefined) throw new ProtocolError('BAD_REQUEST', 'there was no transfer')
    if (this.isUnderWay) {
      this.isAwaited = true
      return undefined
    }
    return this.current.failure === undefined
  }

  abort(reason: string): void {
    if (this.isUnderWay) this.current?.abort(reason)
  }

  private make(Transfer: typeof SavedState | typeof LoadedState, fd: number): StateTransfer {
    const { device, host } = this
    try {
      return new Transfer(fd, device, host.loop, (transfer) => this.ended(transfer), host.failed)
    } catch (error) {
      if (!(error instanceof StateError)) throw error
      throw new ProtocolError('BAD_REQUEST', error.message)
    }
  }

  private ended({ failure }: StateTransfer): void {
    if (failure !== undefined) this.faults.warn('device state not transferred', { reason: failure })
    if (this.isAwaited) this.answer(failure === undefined)
    this.isAwaited = false
  }
}
