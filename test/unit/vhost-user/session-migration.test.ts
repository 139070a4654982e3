import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { StateError, type StateLoader, type VhostUserDevice } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { eventfd, ok, receiveBytes, sendBytes, socketPair } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { MIB, UVA_BASE } from '../../support/rings/guest-ram.js'
import {
  FEATURES,
  LOG_ALL,
  oneRegion,
  PROTOCOL_FEATURES,
  Req,
  ringAddresses,
  type SessionPeer,
  STATE_FEATURES,
  u32s,
  u64,
  withPeer,
} from '../../support/rings/session-peer.js'

const SAVE = 0
const LOAD = 1
const NO_FD = 0x100n
const REFUSED = 0x101n
const PAGE = 4096
/** One bit for each page of 1 MiB. */
const LOG_BYTES = MIB / PAGE / 8

const log = (sizeBytes: number, offsetBytes = 0) =>
  Uint8Array.from(Buffer.concat([u64(sizeBytes), u64(offsetBytes)]))

/** A device whose state is these pieces, and that records what it loads. */
class Movable implements Pick<VhostUserDevice, 'saveState' | 'loadState'> {
  readonly loaded: string[] = []
  pieces: readonly Uint8Array[] = [Uint8Array.of(1, 2, 3)]
  refuses = false

  saveState = (): Iterable<Uint8Array> => this.pieces

  loadState = (): StateLoader => ({
    write: (bytes) => {
      if (this.refuses) throw new StateError('not mine')
      this.loaded.push(Buffer.from(bytes).toString('hex'))
    },
    end: () => void this.loaded.push('end'),
    abort: () => void this.loaded.push('abort'),
  })
}

/** The write end and the read end of a pipe. */
function fifo(t: Test): [number, number] {
  const path = join(tempDir(t), 'fifo')
  execFileSync('mkfifo', [path])
  const theirs = openSync(path, native.constants.O_RDONLY | native.constants.O_NONBLOCK)
  return [openSync(path, native.constants.O_WRONLY), theirs]
}

const ready = (peer: SessionPeer) => peer.negotiate(FEATURES).share()

/** Sends SET_DEVICE_STATE_FD with one end of a socket pair; returns the other. */
function transfer(peer: SessionPeer, direction: number): number {
  const [mine, theirs] = socketPair()
  const answer = peer.askU64(Req.SET_DEVICE_STATE_FD, u32s(direction, 0), [theirs])
  native.close(theirs)
  if (answer !== NO_FD) throw new Error(`refused: ${answer}`)
  return mine
}

t.test('only a device with a state to move offers migration', (t) => {
  withPeer(t, (peer) => {
    t.equal(peer.askU64(Req.GET_FEATURES), FEATURES)
    t.equal(peer.askU64(Req.GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES)
    t.equal(peer.askU64(Req.SET_DEVICE_STATE_FD, u32s(SAVE, 0)), REFUSED)
    t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 1n)
  })
  withPeer(
    t,
    (peer) => {
      t.equal(peer.askU64(Req.GET_FEATURES), FEATURES | LOG_ALL)
      t.equal(peer.askU64(Req.GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES | STATE_FEATURES)
    },
    new Movable(),
  )
  t.end()
})

t.test('SET_LOG_BASE has a reply of its own, and refuses what it cannot use', (t) => {
  withPeer(
    t,
    (peer) => {
      ready(peer)
      const memfd = ok(native.memfdCreate(PAGE))
      const event = eventfd()
      const directory = openSync('/', 'r')
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES), [memfd]), 0n)
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES, PAGE - LOG_BYTES), [memfd]), 0n, 'at an offset')
      const refused: readonly (readonly [string, Uint8Array, number[]])[] = [
        ['one bit too few', log(LOG_BYTES - 1), [memfd]],
        ['no bytes', log(0), [memfd]],
        ['beyond the file', log(LOG_BYTES, PAGE - LOG_BYTES + 1), [memfd]],
        ['a size that overflows', log(2 ** 53 - 1, 4096), [memfd]],
        ['an eventfd', log(LOG_BYTES), [event]],
        ['a directory', log(LOG_BYTES), [directory]],
        ['no descriptor', log(LOG_BYTES), []],
        ['two descriptors', log(LOG_BYTES), [memfd, memfd]],
        ['a short payload', u64(LOG_BYTES), [memfd]],
      ]
      for (const [what, payload, fds] of refused)
        t.equal(peer.askU64(Req.SET_LOG_BASE, payload, fds), 1n, what)
      t.equal(peer.takesFds(Req.SET_LOG_FD, new Uint8Array(0), [event]), true)
      native.close(memfd)
      closeSync(directory)
    },
    new Movable(),
  )
  t.end()
})

t.test('memory, features and rings that the log has no bits for are refused', (t) => {
  withPeer(
    t,
    (peer) => {
      ready(peer).start(0)
      const memfd = ok(native.memfdCreate(2 * MIB))
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES), [memfd]), 0n)
      t.equal(peer.takes(Req.ADD_MEM_REG, oneRegion({ gpa: MIB, sizeBytes: MIB }), [memfd]), true)
      t.equal(peer.takes(Req.SET_FEATURES, u64(FEATURES | LOG_ALL)), false, 'the log is too small by now')
      t.equal(peer.takes(Req.REM_MEM_REG, oneRegion({ gpa: MIB, sizeBytes: MIB })), true)
      t.equal(peer.takes(Req.SET_FEATURES, u64(FEATURES | LOG_ALL)), true)
      t.equal(peer.takes(Req.ADD_MEM_REG, oneRegion({ gpa: MIB, sizeBytes: MIB }), [memfd]), false)
      t.equal(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 1, 8 * MIB)), false)
      t.equal(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 2)), false, 'unknown flags')
      t.equal(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 1, 0x6000)), true)
      t.strictSame(peer.running, [0])
      native.close(memfd)
    },
    new Movable(),
  )
  t.end()
})

t.test('the log begins and ends while rings run, and stops none', (t) => {
  withPeer(
    t,
    (peer) => {
      ready(peer).start(0)
      const memfd = ok(native.memfdCreate(PAGE))
      peer.takeEvents()
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES), [memfd]), 0n)
      t.equal(peer.takes(Req.SET_FEATURES, u64(FEATURES | LOG_ALL)), true)
      t.equal(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0, UVA_BASE, 1, 0x6000)), true)
      // Another log, as after hot-plugged memory, and the end: a cancelled migration.
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(2 * LOG_BYTES), [memfd]), 0n)
      t.equal(peer.takes(Req.SET_FEATURES, u64(FEATURES)), true)
      t.equal(peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0)), true)
      t.strictSame(peer.takeEvents(), [], 'no ring was stopped')
      native.close(memfd)
    },
    new Movable(),
  )
  t.end()
})

t.test('a device is told once when a migration begins, and when it is given up', (t) => {
  const told: boolean[] = []
  const device = Object.assign(new Movable(), {
    prepareState: (expected: boolean) => void told.push(expected),
  })
  withPeer(
    t,
    (peer) => {
      ready(peer)
      const memfd = ok(native.memfdCreate(PAGE))
      const setFeatures = (features: bigint) => peer.takes(Req.SET_FEATURES, u64(features))
      t.equal(setFeatures(FEATURES), true)
      t.equal(peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES), [memfd]), 0n)
      t.same(told, [])
      t.equal(setFeatures(FEATURES | LOG_ALL), true)
      t.equal(setFeatures(FEATURES | LOG_ALL), true)
      t.same(told, [true])
      t.equal(setFeatures(FEATURES), true)
      t.same(told, [true, false])
      native.close(memfd)
    },
    device,
  )
  t.end()
})

t.test('a ring marks the pages of its requests and its own', (t) => {
  withPeer(
    t,
    (peer) => {
      ready(peer).start(0, 0x1_0000)
      const memfd = ok(native.memfdCreate(PAGE))
      const marks = () => {
        const bits = new Uint8Array(LOG_BYTES)
        readSync(memfd, bits, 0, LOG_BYTES, 0)
        return [...bits].flatMap((byte, n) =>
          [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => 8 * n + bit),
        )
      }
      const [{ queue }] = peer.session.rings.vrings
      if (queue === undefined) throw new Error('no queue')
      queue.armKick()
      t.strictSame(marks(), [], 'nothing while there is no log')
      peer.askU64(Req.SET_LOG_BASE, log(LOG_BYTES), [memfd])
      queue.armKick()
      t.strictSame(marks(), [], 'nothing without VHOST_F_LOG_ALL')
      peer.takes(Req.SET_FEATURES, u64(FEATURES | LOG_ALL))
      queue.armKick()
      t.strictSame(marks(), [], 'nothing of a ring without VHOST_VRING_F_LOG')
      peer.takes(Req.SET_VRING_ADDR, ringAddresses(0, 0x1_0000, UVA_BASE, 1, 0x1_6000))
      queue.armKick()
      t.strictSame(marks(), [0x16], 'avail_event')
      peer.takes(Req.SET_FEATURES, u64(FEATURES))
      t.equal(queue.dirtyLog, undefined)
      native.close(memfd)
    },
    new Movable(),
  )
  t.end()
})

t.test('a state goes through the pipe beside the message loop', (t) => {
  const device = new Movable()
  // More than a socket takes at once, in pieces that have nothing to do with its size.
  device.pieces = Array.from({ length: 300 }, (_, n) => new Uint8Array(5000).fill(n))
  withPeer(
    t,
    (peer) => {
      ready(peer)
      const fd = transfer(peer, SAVE)
      t.equal(peer.ask(Req.CHECK_DEVICE_STATE), undefined, 'the answer waits for the end')
      t.equal(peer.askU64(Req.GET_QUEUE_NUM), 2n, 'other messages do not')
      const got: Uint8Array[] = []
      let late: bigint | undefined
      peer.turn(() => {
        got.push(receiveBytes(fd))
        late = peer.lateU64()
        return late !== undefined
      })
      got.push(receiveBytes(fd))
      t.equal(late, 0n)
      t.equal(Buffer.compare(Buffer.concat(got), Buffer.concat(device.pieces)), 0)
      t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 0n, 'it may be asked again')
      native.close(fd)
    },
    device,
  )
  t.end()
})

t.test('a state is loaded up to the end of the pipe', (t) => {
  const device = new Movable()
  withPeer(
    t,
    (peer) => {
      ready(peer)
      const fd = transfer(peer, LOAD)
      sendBytes(fd, Uint8Array.of(7))
      peer.turn(() => device.loaded.length === 1)
      sendBytes(fd, Uint8Array.of(8, 9))
      peer.turn(() => device.loaded.length === 2)
      native.close(fd)
      t.equal(peer.ask(Req.CHECK_DEVICE_STATE), undefined)
      peer.turn(() => device.loaded.length === 3)
      t.equal(peer.lateU64(), 0n)
      t.strictSame(device.loaded, ['07', '0809', 'end'])
    },
    device,
  )
  t.end()
})

t.test('a refused state, a started ring and a lost reader fail the transfer', (t) => {
  const device = new Movable()
  withPeer(
    t,
    (peer) => {
      ready(peer)
      device.refuses = true
      const refused = transfer(peer, LOAD)
      sendBytes(refused, Uint8Array.of(7))
      t.equal(peer.ask(Req.CHECK_DEVICE_STATE), undefined)
      peer.turn(() => device.loaded.length > 0)
      t.equal(peer.lateU64(), 1n)
      t.strictSame(device.loaded.splice(0), ['abort'])

      const started = transfer(peer, LOAD)
      peer.start(0)
      t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 1n)
      t.strictSame(device.loaded.splice(0), ['abort'])
      t.equal(peer.askU64(Req.SET_DEVICE_STATE_FD, u32s(SAVE, 0), [started]), REFUSED, 'a ring runs')
      peer.stop(0)

      const lost = transfer(peer, SAVE)
      native.close(lost)
      t.equal(peer.ask(Req.CHECK_DEVICE_STATE), undefined)
      peer.turn(() => peer.lateU64() === 1n)

      const first = transfer(peer, LOAD)
      const second = transfer(peer, SAVE)
      t.strictSame(device.loaded.splice(0), ['abort'], 'another transfer takes its place')
      peer.turn(() => receiveBytes(second).length === 3)
      const left = transfer(peer, LOAD)
      for (const fd of [refused, started, first, second, left]) native.close(fd)
    },
    device,
  )
  t.strictSame(device.loaded, ['abort'], 'the front-end left')
  t.end()
})

t.test('a front-end that makes the descriptor blocking does not stop the thread', (t) => {
  const device = new Movable()
  const words = new TextEncoder().encode('state')
  withPeer(
    t,
    (peer) => {
      ready(peer)
      for (const [kind, [mine, theirs]] of [
        ['socket', socketPair()],
        ['pipe', fifo(t)],
      ] as const) {
        t.equal(peer.askU64(Req.SET_DEVICE_STATE_FD, u32s(LOAD, 0), [theirs]), NO_FD)
        native.setStatusFlags(theirs, 0)
        writeSync(mine, words)
        peer.turn(() => device.loaded.length === 1)
        peer.loop.wait(1)
        native.setStatusFlags(theirs, 0)
        native.close(mine)
        peer.turn(() => device.loaded.length === 2)
        t.strictSame(device.loaded.splice(0), [Buffer.from(words).toString('hex'), 'end'], kind)
        native.close(theirs)
      }
    },
    device,
  )
  t.end()
})

t.test('a reset ends the transfer, because the state has changed', (t) => {
  const device = new Movable()
  device.pieces = Array.from({ length: 300 }, () => new Uint8Array(5000))
  withPeer(
    t,
    (peer) => {
      ready(peer)
      for (const request of [Req.RESET_DEVICE, Req.RESET_OWNER]) {
        const saved = transfer(peer, SAVE)
        peer.turn(() => receiveBytes(saved).length > 0)
        t.equal(peer.takes(request), true)
        t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 1n)
        const loaded = transfer(peer, LOAD)
        t.equal(peer.takes(request), true)
        t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 1n)
        t.strictSame(device.loaded.splice(0), ['abort'])
        native.close(saved)
        native.close(loaded)
      }
    },
    device,
  )
  t.end()
})

t.test('a log has a bit for each page, also of ranges that begin and end inside a byte', (t) => {
  const memfd = ok(native.memfdCreate(PAGE))
  const mapped = native.dirtyLogOpen(memfd, 0, 4)
  if (typeof mapped === 'number') throw new Error(`errno ${-mapped}`)
  const bits = new Uint8Array(4)
  for (let first = 0; first < 32; first++) {
    for (let last = first; last < 32; last++) {
      const range = Float64Array.of(first * PAGE + 5, (last - first) * PAGE + 1)
      t.equal(native.dirtyLogMark(mapped, range, 0, 1), 0)
      readSync(memfd, bits, 0, 4, 0)
      const word = new DataView(bits.buffer).getUint32(0, true)
      const wanted = Array.from({ length: 32 }, (_, page) => (page >= first && page <= last ? 2 ** page : 0))
      t.equal(
        word,
        wanted.reduce((sum, bit) => sum + bit),
        `${first} to ${last}`,
      )
      writeSync(memfd, new Uint8Array(4), 0, 4, 0)
    }
  }
  native.dirtyLogClose(mapped)
  native.close(memfd)
  t.end()
})

t.test('a transfer needs the right end of a pipe, and a phase that exists', (t) => {
  withPeer(
    t,
    (peer) => {
      ready(peer)
      const memfd = ok(native.memfdCreate(PAGE))
      const event = eventfd()
      const directory = openSync('/', 'r')
      const path = openSync('/', native.constants.O_PATH)
      for (const [what, payload, fds] of [
        ['memory', u32s(SAVE, 0), [memfd]],
        ['an eventfd', u32s(SAVE, 0), [event]],
        ['a directory', u32s(LOAD, 0), [directory]],
        ['a path', u32s(LOAD, 0), [path]],
        ['nothing', u32s(SAVE, 0), []],
        ['two', u32s(SAVE, 0), [event, event]],
        ['another direction', u32s(2, 0), [event]],
        ['another phase', u32s(0, 1), [event]],
        ['a short payload', new Uint8Array(4), [event]],
      ] as const)
        t.equal(peer.askU64(Req.SET_DEVICE_STATE_FD, payload, fds), REFUSED, what)
      t.equal(peer.askU64(Req.CHECK_DEVICE_STATE), 1n)
      native.close(memfd)
      native.close(event)
      closeSync(directory)
      closeSync(path)
    },
    new Movable(),
  )
  t.end()
})
