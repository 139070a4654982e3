/** Rings outside memory and descriptors that are no eventfd are refused, and running queues go on. */
import { closeSync, openSync, writeSync } from 'node:fs'
import t, { type Test } from 'tap'
import { ProtocolError } from 'vhost-user-ts'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import * as native from 'virtiofsd-ts-native'
import { Device, sleep } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { AppendLoad } from '../support/fuse/append-load.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, type Id, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'

const MIB = 1 << 20
const REGION_BYTES = [64 * MIB, 64 * MIB]
const END = BigInt(2 * 64 * MIB)
const BOUNDARY = BigInt(64 * MIB)
/** Where guest address 0 lies in the front-end's addresses. */
const UVA = 0x7f00_0000_0000n
const SPARE_QUEUE = 2
const SIZE = 128
/** Only a hang takes so long. */
const TIMEOUT_MS = 20_000

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

function refused(work: () => void): boolean {
  try {
    work()
    return false
  } catch (error) {
    if (error instanceof ProtocolError) return true
    throw error
  }
}

function sendAddresses(fs: FuseGuest, queue: number, [desc, used, avail]: readonly Id[]): void {
  const { body } = fs.frontend.connection
  new Uint8Array(body.buffer, body.byteOffset).set(concat(u32(queue, 0), u64(desc, used, avail, 0)))
  fs.frontend.request(FrontendRequest.SET_VRING_ADDR, 40)
}

function setKick(fs: FuseGuest, queue: number, fd: number): void {
  fs.frontend.setU64(FrontendRequest.SET_VRING_KICK, BigInt(queue), Int32Array.of(fd))
}

function setCall(fs: FuseGuest, queue: number, fd: number): void {
  fs.frontend.setU64(FrontendRequest.SET_VRING_CALL, BigInt(queue), Int32Array.of(fd))
}

/** Good addresses of the descriptor table, used ring and available ring; each is made bad in turn. */
const good: readonly bigint[] = [UVA + 0x4000n, UVA + 0x6000n, UVA + 0x8000n]
const parts = ['descriptor table', 'used ring', 'available ring']
const lengths = [16n * BigInt(SIZE), 6n + 8n * BigInt(SIZE), 6n + 2n * BigInt(SIZE)]
const alignments = [16n, 4n, 2n]

function badPlaces(part: number): Record<string, bigint> {
  const lenBytes = lengths[part]
  return {
    'at address 0': 0n,
    'before all memory': UVA - 4096n,
    'behind all memory': UVA + END,
    'across the end of memory': UVA + END - lenBytes + alignments[part],
    'across two regions that touch': UVA + BOUNDARY - 16n,
    'off its alignment': good[part] + alignments[part] / 2n,
    'off its alignment by one': good[part] + 1n,
    'at 2^53': 1n << 53n,
    'at the last address': (1n << 64n) - 16n,
    'where the end wraps': (1n << 64n) - lenBytes,
  }
}

function eachBadPlace(check: (name: string, addresses: readonly bigint[]) => void): void {
  parts.forEach((name, part) => {
    for (const [where, uva] of Object.entries(badPlaces(part)))
      check(`${name} ${where}`, good.with(part, uva))
  })
}

t.test('a queue whose rings are not in memory, or not aligned, does not start', async (t) => {
  const fs = mount(t, device, { regionBytes: REGION_BYTES })
  const held = device.fdCount()
  const { frontend } = fs
  frontend.setState(FrontendRequest.SET_VRING_NUM, SPARE_QUEUE, SIZE)
  eachBadPlace((name, addresses) => {
    sendAddresses(fs, SPARE_QUEUE, addresses)
    setKick(fs, SPARE_QUEUE, fs.frontend.queues[0].kickFd)
    t.ok(
      refused(() => frontend.setState(FrontendRequest.SET_VRING_ENABLE, SPARE_QUEUE, 1)),
      name,
    )
    fs.getattr(ROOT_ID)
  })
  sendAddresses(fs, SPARE_QUEUE, good)
  t.notOk(
    refused(() => frontend.setState(FrontendRequest.SET_VRING_ENABLE, SPARE_QUEUE, 1)),
    'and starts when they are',
  )
  frontend.setState(FrontendRequest.SET_VRING_ENABLE, SPARE_QUEUE, 0)
  await device.waitForFdCount(held + 1)
  fs.close()
})

t.test('an enabled queue does not start at the kick either', async (t) => {
  const fs = mount(t, device, { regionBytes: REGION_BYTES })
  const held = device.fdCount()
  fs.frontend.setState(FrontendRequest.SET_VRING_NUM, SPARE_QUEUE, SIZE)
  fs.frontend.setState(FrontendRequest.SET_VRING_ENABLE, SPARE_QUEUE, 1)
  sendAddresses(fs, SPARE_QUEUE, [0, 0, 0])
  const kick = fs.frontend.queues[0].kickFd
  t.ok(refused(() => setKick(fs, SPARE_QUEUE, kick)))
  await device.waitForFdCount(held)
  sendAddresses(fs, SPARE_QUEUE, good)
  t.notOk(refused(() => setKick(fs, SPARE_QUEUE, kick)))
  fs.close()
})

t.test('a running queue is not moved to impossible addresses, and goes on where it is', async (t) => {
  const fs = mount(t, device, { regionBytes: REGION_BYTES })
  const load = new AppendLoad(device, fs, 'moved')
  eachBadPlace((name, addresses) => {
    load.submit(5, REQUEST_QUEUE)
    t.ok(
      refused(() => sendAddresses(fs, REQUEST_QUEUE, addresses)),
      name,
    )
    load.submit(2, REQUEST_QUEUE)
    load.collect(REQUEST_QUEUE)
  })
  load.assertExact()
  fs.close()
})

t.test('size and index of a running queue do not change', async (t) => {
  const fs = mount(t, device)
  const load = new AppendLoad(device, fs, 'sized')
  load.submit(5, REQUEST_QUEUE)
  t.ok(refused(() => fs.frontend.setState(FrontendRequest.SET_VRING_NUM, REQUEST_QUEUE, 64)))
  t.ok(refused(() => fs.frontend.setState(FrontendRequest.SET_VRING_BASE, REQUEST_QUEUE, 7)))
  load.submit(2, REQUEST_QUEUE)
  load.collect(REQUEST_QUEUE)
  load.assertExact()
  fs.close()
})

t.test(
  'a kick descriptor that cannot be waited for is refused: the queue goes on with the one it has',
  async (t) => {
    const fs = mount(t, device)
    const held = device.fdCount()
    const load = new AppendLoad(device, fs, 'kicked')
    const heldWithLoad = device.fdCount()
    for (const path of ['/', '/proc/self/status', process.execPath]) {
      const fd = openSync(path, 'r')
      load.submit(5, REQUEST_QUEUE)
      t.ok(
        refused(() => setKick(fs, REQUEST_QUEUE, fd)),
        path,
      )
      load.submit(2, REQUEST_QUEUE)
      load.collect(REQUEST_QUEUE)
      closeSync(fd)
      await device.waitForFdCount(heldWithLoad)
    }
    load.assertExact()
    fs.forgetAll()
    await device.waitForFdCount(held)
    fs.close()
  },
)

/** Descriptors that cannot be written to now, or at all, by name. A write to some of them would block. */
function badCalls(t: Test): Record<string, number> {
  const pair = () => {
    const fds = new Int32Array(2)
    native.unixPair(fds)
    return fds
  }
  const [deaf, gone] = pair()
  native.close(gone)
  const [full, far] = pair()
  const some = new Uint8Array(65_536)
  const { MSG_DONTWAIT } = native.constants
  while (native.sendMessage(full, some, 0, some.length, new Int32Array(0), 0, MSG_DONTWAIT) > 0);
  const fullEventfd = native.eventfdCreate(0)
  writeSync(fullEventfd, u64((1n << 64n) - 2n))
  const file = openSync('/', 'r')
  t.teardown(() => {
    for (const fd of [deaf, full, far, fullEventfd, file]) native.close(fd)
  })
  return {
    'a socket whose other end is gone': deaf,
    'a full socket in blocking mode': full,
    'an eventfd at its end in blocking mode': fullEventfd,
    'a directory': file,
  }
}

/** Polls the ring until the device has completed the requests in flight, because no call tells us. */
async function answered(fs: FuseGuest): Promise<void> {
  const { avail, used } = fs.frontend.queues[REQUEST_QUEUE]
  const endMs = performance.now() + TIMEOUT_MS
  while (Atomics.load(used, 1) !== avail[1]) {
    if (performance.now() > endMs) throw new Error('the device stands still')
    await sleep(1)
  }
}

t.test('a call descriptor that cannot be written to stops nothing', async (t) => {
  for (const [name, fd] of Object.entries(badCalls(t))) {
    const fs = mount(t, device)
    setCall(fs, REQUEST_QUEUE, fd)
    for (let n = 0; n < 20; n++) {
      fs.start({ opcode: Op.STATFS, nodeid: ROOT_ID, reply: { argBytes: 80 } })
      await answered(fs)
      fs.finish()
    }
    t.pass(name)
    fs.close()
  }
})

t.test('the device goes on', async (t) => {
  await assertLogged(t, device, 'vhost-user request refused')
  await assertSurvival(t, device, heldBefore)
})
