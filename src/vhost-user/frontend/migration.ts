import { readSync } from 'node:fs'
import * as native from 'virtiofsd-ts-native'
import { mustSucceed, ProtocolError } from '../errors.js'
import { logBytesFor } from '../memory/dirty-log.js'
import {
  DEVICE_STATE_NOFD_MASK,
  FrontendRequest,
  featureBits,
  VHOST_TRANSFER_STATE_DIRECTION_LOAD,
  VHOST_TRANSFER_STATE_DIRECTION_SAVE,
  VHOST_TRANSFER_STATE_PHASE_STOPPED,
  VirtioFeature,
} from '../protocol.js'
import { DeviceStateTransfer, LogBase, U64 } from '../session/wire.js'
import type { Frontend } from './frontend.js'

const PIECE_BYTES = 64 * 1024

/** The dirty log of a guest: the pages that the back-end has written since it began, or since they were last taken. */
export class DirtyPages {
  private readonly fd: number
  private readonly sizeBytes: number

  /** Has the back-end log, as QEMU does at the beginning of a migration. Throws ProtocolError. */
  constructor(private readonly frontend: Frontend) {
    this.sizeBytes = logBytesFor(frontend.endOfMemory)
    this.fd = mustSucceed('memfd_create', native.memfdCreate(this.sizeBytes))
    LogBase.write(frontend.connection.body, this.sizeBytes, 0)
    frontend.send(FrontendRequest.SET_LOG_BASE, LogBase.BYTES, false, Int32Array.of(this.fd))
    const { payload, payloadBytes } = frontend.receive(FrontendRequest.SET_LOG_BASE)
    // The vhost crate of rust-vmm answers with the request's own payload, which QEMU takes for consent.
    if (payloadBytes === U64.BYTES && U64.read(payload) !== 0n)
      throw new ProtocolError('BAD_REQUEST', 'the back-end refused SET_LOG_BASE')
    this.set(true)
  }

  /** Returns the numbers of the pages marked so far. */
  pages(): Set<number> {
    const bits = new Uint8Array(this.sizeBytes)
    readSync(this.fd, bits, 0, bits.length, 0)
    const pages = new Set<number>()
    bits.forEach((byte, n) => {
      for (let bit = 0; bit < 8; bit++) if (((byte >> bit) & 1) !== 0) pages.add(8 * n + bit)
    })
    return pages
  }

  /** Ends the log, as a cancelled migration does. */
  end(): void {
    this.set(false)
    native.close(this.fd)
  }

  private set(on: boolean): void {
    const { frontend } = this
    const features = frontend.features | (on ? featureBits(VirtioFeature.VHOST_LOG_ALL) : 0n)
    frontend.setU64(FrontendRequest.SET_FEATURES, features)
    frontend.logsRings = on
    frontend.queues.forEach((_, index) => {
      frontend.sendAddresses(index)
    })
  }
}

/** Returns the state of a back-end whose queues stand still. Throws ProtocolError if it cannot be saved. */
export function saveState(frontend: Frontend): Uint8Array {
  const fd = begin(frontend, VHOST_TRANSFER_STATE_DIRECTION_SAVE)
  const pieces: Uint8Array[] = []
  const piece = new Uint8Array(PIECE_BYTES)
  for (let got = readSync(fd, piece); got > 0; got = readSync(fd, piece)) pieces.push(piece.slice(0, got))
  native.close(fd)
  check(frontend)
  return Uint8Array.from(Buffer.concat(pieces))
}

/** Hands a state to a back-end without running queues. Throws ProtocolError if it refuses. */
export function loadState(frontend: Frontend, state: Uint8Array): void {
  const fd = begin(frontend, VHOST_TRANSFER_STATE_DIRECTION_LOAD)
  for (let at = 0; at < state.length; ) {
    const sent = native.sendMessage(fd, state, at, Math.min(PIECE_BYTES, state.length - at), NO_FDS, 0, 0)
    // The back-end takes no more of a state that it refuses; the check says so.
    if (sent < 0) break
    at += sent
  }
  native.close(fd)
  check(frontend)
}

const NO_FDS = new Int32Array(0)

/** Sends one end of a pair of sockets; returns the other. */
function begin(frontend: Frontend, direction: number): number {
  const pair = new Int32Array(2)
  mustSucceed('socketpair', native.unixPair(pair))
  const [mine = -1, theirs = -1] = pair
  DeviceStateTransfer.write(frontend.connection.body, direction, VHOST_TRANSFER_STATE_PHASE_STOPPED)
  const request = FrontendRequest.SET_DEVICE_STATE_FD
  frontend.send(request, DeviceStateTransfer.BYTES, false, Int32Array.of(theirs))
  native.close(theirs)
  if (U64.read(frontend.receive(request).payload) === BigInt(DEVICE_STATE_NOFD_MASK)) return mine
  native.close(mine)
  throw new ProtocolError('BAD_REQUEST', 'the back-end refused SET_DEVICE_STATE_FD')
}

function check(frontend: Frontend): void {
  frontend.send(FrontendRequest.CHECK_DEVICE_STATE, 0, false)
  if (U64.read(frontend.receive(FrontendRequest.CHECK_DEVICE_STATE).payload) !== 0n)
    throw new ProtocolError('BAD_REQUEST', 'the state was not transferred')
}
