/**
 * Every vhost-user message one byte too short and too long, with too few and too many descriptors, and with each field
 * at its limits.
 */
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { RawSocket } from '../support/rings/raw-socket.js'
import { Req } from '../support/rings/session-peer.js'

const MIB = 1 << 20
const UVA = 0x7f00_0000_0000n
const NO_PAYLOAD = new Uint8Array(0)

/** A valid message. */
interface Shape {
  readonly request: number
  readonly payload: Uint8Array
  readonly fds: number
  /** It has a reply of its own, which is all zeros if the message was wrong. */
  readonly answered?: boolean
}

const region = (gpa: number, sizeBytes: number, fileOffset = 0) =>
  u64(gpa, sizeBytes, UVA + BigInt(gpa), fileOffset)
const slot = (gpa: number, sizeBytes: number) => concat(u64(0), region(gpa, sizeBytes))
const table = (...regions: Uint8Array[]) => concat(u32(regions.length, 0), ...regions)

const shapes: Record<string, Shape> = {
  GET_FEATURES: { request: Req.GET_FEATURES, payload: NO_PAYLOAD, fds: 0, answered: true },
  SET_FEATURES: { request: Req.SET_FEATURES, payload: u64(1n << 32n), fds: 0 },
  SET_OWNER: { request: Req.SET_OWNER, payload: NO_PAYLOAD, fds: 0 },
  RESET_OWNER: { request: Req.RESET_OWNER, payload: NO_PAYLOAD, fds: 0 },
  'SET_MEM_TABLE of one': { request: Req.SET_MEM_TABLE, payload: table(region(0, MIB)), fds: 1 },
  'SET_MEM_TABLE of two': {
    request: Req.SET_MEM_TABLE,
    payload: table(region(0, MIB), region(4 * MIB, MIB)),
    fds: 2,
  },
  SET_VRING_NUM: { request: Req.SET_VRING_NUM, payload: u32(1, 256), fds: 0 },
  SET_VRING_ADDR: { request: Req.SET_VRING_ADDR, payload: concat(u32(1, 0), u64(0, 0, 0, 0)), fds: 0 },
  SET_VRING_BASE: { request: Req.SET_VRING_BASE, payload: u32(1, 0), fds: 0 },
  GET_VRING_BASE: { request: Req.GET_VRING_BASE, payload: u32(1, 0), fds: 0, answered: true },
  SET_VRING_KICK: { request: Req.SET_VRING_KICK, payload: u64(1), fds: 1 },
  SET_VRING_CALL: { request: Req.SET_VRING_CALL, payload: u64(1), fds: 1 },
  SET_VRING_ERR: { request: Req.SET_VRING_ERR, payload: u64(1), fds: 1 },
  'SET_VRING_CALL without one': { request: Req.SET_VRING_CALL, payload: u64(0x101), fds: 0 },
  GET_PROTOCOL_FEATURES: {
    request: Req.GET_PROTOCOL_FEATURES,
    payload: NO_PAYLOAD,
    fds: 0,
    answered: true,
  },
  SET_PROTOCOL_FEATURES: {
    request: Req.SET_PROTOCOL_FEATURES,
    payload: u64((1 << 3) | (1 << 15)),
    fds: 0,
  },
  GET_QUEUE_NUM: { request: Req.GET_QUEUE_NUM, payload: NO_PAYLOAD, fds: 0, answered: true },
  SET_VRING_ENABLE: { request: Req.SET_VRING_ENABLE, payload: u32(1, 0), fds: 0 },
  SET_BACKEND_REQ_FD: { request: Req.SET_BACKEND_REQ_FD, payload: NO_PAYLOAD, fds: 1 },
  RESET_DEVICE: { request: Req.RESET_DEVICE, payload: NO_PAYLOAD, fds: 0 },
  GET_MAX_MEM_SLOTS: { request: Req.GET_MAX_MEM_SLOTS, payload: NO_PAYLOAD, fds: 0, answered: true },
  ADD_MEM_REG: { request: Req.ADD_MEM_REG, payload: slot(16 * MIB, MIB), fds: 1 },
}

const memfd = native.memfdCreate(64 * MIB)
const eventfd = native.eventfdCreate(0)
t.teardown(() => {
  native.close(memfd)
  native.close(eventfd)
})
const fdsFor = (request: number, count: number) => {
  const isMemory = request === Req.SET_MEM_TABLE || request === Req.ADD_MEM_REG
  return new Array<number>(count).fill(isMemory ? memfd : eventfd)
}

const device = await Device.start(t, ['--keep-alive', '--tag', 'share'])
const heldBefore = device.fdCount()

/** Connected and ready for any message. */
function connect(t: Test): RawSocket {
  const socket = new RawSocket(device.socketPath)
  t.teardown(() => socket.close())
  socket.negotiate()
  return socket
}

/** Checks that the device refuses the message, by a nack or by a reply of zeros. */
function assertRefused(t: Test, socket: RawSocket, shape: Shape, payload: Uint8Array, fds: number): void {
  const answer = socket.ask(shape.request, payload, fdsFor(shape.request, fds))
  if (shape.answered) t.equal(answer, 0n, `${payload.length} bytes, ${fds} descriptors: an empty answer`)
  else t.not(answer, 0n, `${payload.length} bytes, ${fds} descriptors: refused`)
}

for (const [name, shape] of Object.entries(shapes)) {
  t.test(`${name} of any other length or with other descriptors is refused`, async (t) => {
    const { payload, fds } = shape
    const socket = connect(t)
    const longer = concat(payload, Uint8Array.of(0))
    assertRefused(t, socket, shape, longer, fds)
    assertRefused(t, socket, shape, concat(payload, new Uint8Array(4096 - payload.length)), fds)
    if (payload.length > 0) {
      assertRefused(t, socket, shape, payload.subarray(0, -1), fds)
      assertRefused(t, socket, shape, NO_PAYLOAD, fds)
    }
    for (const count of [0, 1, fds + 1, fds + 2, 32])
      if (count !== fds) assertRefused(t, socket, shape, payload, count)
    const right = socket.ask(shape.request, payload, fdsFor(shape.request, fds))
    if (!shape.answered) t.equal(right, 0n, 'and taken as it should be')
  })
}

/** Fields at their limits, by message. */
const badFields: readonly (readonly [string, number, Uint8Array, number])[] = [
  ['SET_FEATURES: one that was not offered', Req.SET_FEATURES, u64(1n << 63n), 0],
  ['SET_PROTOCOL_FEATURES: not offered', Req.SET_PROTOCOL_FEATURES, u64((1n << 63n) | 8n), 0],
  ['SET_VRING_NUM: a queue beyond the last', Req.SET_VRING_NUM, u32(256, 256), 0],
  ['SET_VRING_NUM: a queue far beyond', Req.SET_VRING_NUM, u32(0xffff_ffff, 256), 0],
  ...[0, 3, 127, 1023, 1025, 2048, 32_768, 65_536, 0x8000_0000, 0xffff_ffff].map(
    (size) => [`SET_VRING_NUM: ${size}`, Req.SET_VRING_NUM, u32(1, size), 0] as const,
  ),
  ['SET_VRING_BASE: beyond 16 bits', Req.SET_VRING_BASE, u32(1, 0x1_0000), 0],
  ['SET_VRING_BASE: far beyond', Req.SET_VRING_BASE, u32(1, 0xffff_ffff), 0],
  ['SET_VRING_BASE: no such queue', Req.SET_VRING_BASE, u32(256, 0), 0],
  ['SET_VRING_ADDR: no such queue', Req.SET_VRING_ADDR, concat(u32(256, 0), u64(0, 0, 0, 0)), 0],
  ['SET_VRING_ADDR: an unknown flag', Req.SET_VRING_ADDR, concat(u32(1, 2), u64(0, 0, 0, 0)), 0],
  ['SET_VRING_ENABLE: no such queue', Req.SET_VRING_ENABLE, u32(256, 1), 0],
  ['SET_VRING_ENABLE: 2', Req.SET_VRING_ENABLE, u32(1, 2), 0],
  ['SET_VRING_ENABLE: 2^32 - 1', Req.SET_VRING_ENABLE, u32(1, 0xffff_ffff), 0],
  ['SET_VRING_KICK: says it brings none, and brings one', Req.SET_VRING_KICK, u64(0x101), 1],
  ['SET_MEM_TABLE: no region', Req.SET_MEM_TABLE, table(), 0],
  ['SET_MEM_TABLE: nine', Req.SET_MEM_TABLE, table(...nineRegions()), 9],
  ['SET_MEM_TABLE: says 2^32 - 1', Req.SET_MEM_TABLE, concat(u32(0xffff_ffff, 0), region(0, MIB)), 1],
  ['SET_MEM_TABLE: says two, brings one', Req.SET_MEM_TABLE, concat(u32(2, 0), region(0, MIB)), 1],
  ['REM_MEM_REG: none there', Req.REM_MEM_REG, slot(0, MIB), 0],
  ['REM_MEM_REG: two descriptors', Req.REM_MEM_REG, slot(0, MIB), 2],
  ['SET_CONFIG', Req.SET_CONFIG, concat(u32(0, 4, 0), u32(0)), 0],
  ['SET_LOG_FD: no descriptor', Req.SET_LOG_FD, u64(0), 0],
  ...[0, 19, 20, 22, 23, 31, 32, 33, 35, 39, 40, 44, 1000, 0xffff_ffff].map(
    (request) => [`request ${request}, which is not served`, request, u64(0), 0] as const,
  ),
]

function nineRegions(): Uint8Array[] {
  return Array.from({ length: 9 }, (_, n) => region(2 * n * MIB, MIB))
}

t.test('fields beyond their limits are refused', async (t) => {
  const socket = connect(t)
  for (const [name, request, payload, fds] of badFields)
    t.not(socket.ask(request, payload, fdsFor(request, fds)), 0n, name)
})

t.test('requests of a migration always have an answer, which refuses what is malformed', async (t) => {
  const socket = connect(t)
  for (const request of [Req.SET_LOG_BASE, Req.SET_DEVICE_STATE_FD, Req.CHECK_DEVICE_STATE])
    t.not(socket.ask(request, u64(0)), 0n, `request ${request}`)
})

t.test('a refusal is not answered unless a reply was asked for', async (t) => {
  const socket = connect(t)
  for (const [, request, payload, fds] of badFields) socket.send(request, payload, fdsFor(request, fds))
  // The next reply is that of the next request.
  t.equal(socket.ask(Req.SET_OWNER, NO_PAYLOAD), 0n)
})

t.test('GET_VRING_BASE of a missing queue has an empty answer', async (t) => {
  const socket = connect(t)
  for (const index of [256, 0xffff_ffff]) t.equal(socket.ask(Req.GET_VRING_BASE, u32(index, 0)), 0n)
})

t.test('GET_CONFIG returns the tag, and an empty answer for an impossible range', async (t) => {
  const socket = connect(t)
  socket.send(Req.GET_CONFIG, concat(u32(0, 40, 0), new Uint8Array(40)))
  const { payload } = socket.receive()!
  t.equal(
    Buffer.from(payload.subarray(12, 12 + 36))
      .toString()
      .replaceAll('\0', ''),
    'share',
  )
  for (const bad of [
    concat(u32(0, 257, 0), new Uint8Array(257)),
    concat(u32(250, 8, 0), new Uint8Array(8)),
    concat(u32(0xffff_ffff, 8, 0), new Uint8Array(8)),
    concat(u32(0, 0xffff_ffff, 0), new Uint8Array(8)),
    concat(u32(0, 8, 0), new Uint8Array(7)),
    u32(0, 0),
  ]) {
    socket.send(Req.GET_CONFIG, bad)
    t.equal(socket.receive()?.payload.length, 0)
  }
})

t.test('without REPLY_ACK there is never an acknowledgement', async (t) => {
  const socket = new RawSocket(device.socketPath)
  t.teardown(() => socket.close())
  socket.send(Req.SET_OWNER, NO_PAYLOAD, [], 8)
  socket.send(Req.SET_VRING_NUM, u32(1, 3), [], 8)
  socket.send(Req.GET_QUEUE_NUM, NO_PAYLOAD)
  t.equal(socket.receiveU64(Req.GET_QUEUE_NUM), 256n)
})

t.test('requests whose feature was not negotiated are refused', async (t) => {
  const socket = new RawSocket(device.socketPath)
  t.teardown(() => socket.close())
  socket.send(Req.SET_PROTOCOL_FEATURES, u64(1 << 3))
  t.not(socket.ask(Req.ADD_MEM_REG, slot(0, MIB), [memfd]), 0n)
  t.not(socket.ask(Req.REM_MEM_REG, slot(0, MIB)), 0n)
  t.equal(socket.ask(Req.SET_FEATURES, u64(1n << 32n)), 0n)
  t.not(socket.ask(Req.SET_VRING_ENABLE, u32(1, 1)), 0n, 'SET_VRING_ENABLE without PROTOCOL_FEATURES')
})

t.test('the device goes on', async (t) => {
  await assertLogged(t, device, 'vhost-user request refused')
  await assertSurvival(t, device, heldBefore)
})
