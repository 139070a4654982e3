/** A byte stream without clear messages ends the connection, and nothing else; half a message delays nobody. */
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { RawSocket } from '../support/rings/raw-socket.js'
import { Req } from '../support/rings/session-peer.js'

const VERSION_1 = 1
const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()
const eventfd = native.eventfdCreate(0)
t.teardown(() => native.close(eventfd))

function connect(t: Test): RawSocket {
  const socket = new RawSocket(device.socketPath)
  t.teardown(() => socket.close())
  return socket
}

for (const [name, header] of [
  ['version 0', u32(Req.SET_OWNER, 0, 0)],
  ['version 2', u32(Req.SET_OWNER, 2, 0)],
  ['version 3', u32(Req.SET_OWNER, 3, 0)],
  ['a payload of 4097 bytes', u32(Req.SET_MEM_TABLE, VERSION_1, 4097)],
  ['a payload of 2^31 bytes', u32(Req.SET_MEM_TABLE, VERSION_1, 0x8000_0000)],
  ['a payload of 2^32 - 1 bytes', u32(Req.SET_MEM_TABLE, VERSION_1, 0xffff_ffff)],
] as const) {
  t.test(`a message with ${name} ends the connection`, async (t) => {
    const socket = connect(t)
    socket.sendBytes(header)
    t.equal(socket.receive(), undefined)
    await device.waitForFdCount(heldBefore)
  })
}

t.test('more descriptors than any message has end the connection, and are closed', async (t) => {
  for (const count of [33, 100, 253]) {
    const socket = connect(t)
    socket.sendBytes(u32(Req.SET_OWNER, VERSION_1, 0), new Array<number>(count).fill(eventfd))
    t.equal(socket.receive(), undefined)
    await device.waitForFdCount(heldBefore)
  }
})

t.test('a message cut at any byte and then the end: the next front-end is served', async (t) => {
  const whole = concat(u32(Req.SET_VRING_KICK, VERSION_1, 8), u64(1))
  for (let lenBytes = 0; lenBytes < whole.length; lenBytes++) {
    const socket = new RawSocket(device.socketPath)
    socket.negotiate()
    if (lenBytes > 0) socket.sendBytes(whole.subarray(0, lenBytes), [eventfd])
    socket.close()
    await device.waitForFdCount(heldBefore)
  }
  t.ok(device.alive)
})

t.test('a message that comes byte by byte is one message', async (t) => {
  const socket = connect(t)
  socket.negotiate()
  const whole = concat(u32(Req.SET_VRING_NUM, VERSION_1 | 8, 8), u32(1, 256))
  for (const byte of whole) socket.sendBytes(Uint8Array.of(byte))
  t.equal(socket.receiveU64(Req.SET_VRING_NUM), 0n)
})

t.test('descriptors that come with any byte of a message belong to it', async (t) => {
  const whole = concat(u32(Req.SET_VRING_CALL, VERSION_1 | 8, 8), u64(1))
  for (const cut of [1, 11, 12, 13, 19]) {
    const socket = connect(t)
    socket.negotiate()
    socket.sendBytes(whole.subarray(0, cut))
    socket.sendBytes(whole.subarray(cut), [eventfd])
    t.equal(socket.receiveU64(Req.SET_VRING_CALL), 0n)
    socket.close()
    await device.waitForFdCount(heldBefore)
  }
})

t.test('two messages in one piece are two messages', async (t) => {
  const socket = connect(t)
  const one = u32(Req.GET_QUEUE_NUM, VERSION_1, 0)
  socket.sendBytes(concat(one, one))
  t.equal(socket.receiveU64(Req.GET_QUEUE_NUM), 256n)
  t.equal(socket.receiveU64(Req.GET_QUEUE_NUM), 256n)
})

t.test(
  'half a message and then silence: the rings are served meanwhile, and the rest is waited for',
  async (t) => {
    const fs = mount(t, device)
    const { connection } = fs.frontend
    const whole = concat(u32(Req.GET_QUEUE_NUM, VERSION_1, 0))
    const none = new Int32Array(0)
    for (let at = 0; at < whole.length; at++) {
      native.sendMessage(connection.fd, whole, at, 1, none, 0, 0)
      for (let n = 0; n < 20; n++) fs.getattr(ROOT_ID)
    }
    t.ok(fs.frontend.receive(Req.GET_QUEUE_NUM))
    fs.close()
  },
)

t.test('a front-end that sends and never reads is disconnected in the end', async (t) => {
  const socket = connect(t)
  const questions = concat(...new Array<Uint8Array>(500).fill(u32(Req.GET_FEATURES, VERSION_1, 0)))
  t.throws(() => {
    for (let n = 0; n < 10_000; n++) socket.sendBytes(questions)
  }, 'the device has closed the connection')
  await device.waitForFdCount(heldBefore)
})

t.test('the device goes on', async (t) => {
  await assertLogged(t, device, 'vhost-user connection cannot be followed: closed')
  await assertSurvival(t, device, heldBefore)
})
