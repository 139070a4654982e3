/** Large reads that are in flight together are copied by several threads, and are what one thread would have read. */
import { readdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Device, type DeviceOptions, type Storage } from '../../support/device/device.js'
import { users } from '../../support/device/users.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { type Call, REQUEST_QUEUE } from '../../support/fuse/fuse-client.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll } from '../../support/fuse/writers.js'
import { pattern } from '../../support/pattern.js'

const KIB = 1024
const FILE_BYTES = 3 * 1024 * KIB + 5
const READ_BYTES = 128 * KIB
const O_RDONLY = 0
const DATA = pattern(FILE_BYTES, 1)

const severalProcessors = availableParallelism() > 1

function threadsOf({ pid }: Device): number {
  return readdirSync(`/proc/${pid}/task`).length
}

/** A guest that has opened the file. */
function open(t: Test, device: Device) {
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  return { device, fs, nodeid, handle: fs.open(nodeid, O_RDONLY).handle }
}

async function serve(t: Test, args: readonly string[], options: DeviceOptions) {
  const device = await Device.start(t, args, options)
  writeFileSync(join(device.directory, 'file'), DATA, { mode: 0o644 })
  return open(t, device)
}

/** Puts reads on the ring so that the device finds them all at once. */
function startReads(
  { device, fs, nodeid, handle }: ReturnType<typeof open>,
  offsets: readonly number[],
): Map<Call, number> {
  process.kill(device.pid, 'SIGSTOP')
  const calls = new Map(
    offsets.map((offset) => [fs.start(fs.readRequest(nodeid, handle, BigInt(offset), READ_BYTES)), offset]),
  )
  process.kill(device.pid, 'SIGCONT')
  return calls
}

function expectData(t: Test, calls: ReadonlyMap<Call, number>): void {
  for (const [{ reply }, offset] of calls) {
    const expected = DATA.subarray(offset, offset + READ_BYTES)
    t.ok(reply?.error === 0 && Buffer.from(reply.body).equals(expected), `the bytes from ${offset}`)
  }
}

const OFFSETS = [
  ...Array.from({ length: 20 }, (_, n) => n * READ_BYTES),
  ...[1, 4095, FILE_BYTES - READ_BYTES + 1, FILE_BYTES - 1, FILE_BYTES, FILE_BYTES + READ_BYTES],
]

for (const [user, options] of Object.entries(users))
  for (const storage of ['memory', 'disk'] satisfies Storage[])
    t.test(`${user}, ${storage}: reads at once, some beyond the end`, async (t) => {
      const served = await serve(t, [], { ...options, storage })
      const { fs, device } = served
      const before = threadsOf(device)
      for (let round = 0; round < 3; round++) {
        const calls = startReads(served, OFFSETS)
        finishAll(fs, [...calls.keys()])
        expectData(t, calls)
      }
      const more = severalProcessors ? {} : { skip: 'one processor: no other thread copies' }
      t.ok(threadsOf(device) > before, 'another thread has begun to copy', more)
      fs.close()
    })

t.test('--thread-pool-size 0: the thread of the share reads alone', async (t) => {
  const served = await serve(t, ['--thread-pool-size', '0'], {})
  const before = threadsOf(served.device)
  const calls = startReads(served, OFFSETS)
  finishAll(served.fs, [...calls.keys()])
  expectData(t, calls)
  t.equal(threadsOf(served.device), before)
  served.fs.close()
})

t.test('GET_VRING_BASE amid reads answers them all first', async (t) => {
  const served = await serve(t, [], {})
  const { fs } = served
  for (let round = 0; round < 5; round++) {
    const calls = startReads(served, OFFSETS)
    // When the last request is answered, all those before it have been taken from the ring.
    const last = fs.start({ opcode: Op.STATFS, nodeid: ROOT_ID, reply: { argBytes: 80 } })
    while (last.reply === undefined) fs.finish()
    const base = fs.frontend.stopQueue(REQUEST_QUEUE)
    finishAll(fs, [...calls.keys()])
    expectData(t, calls)
    fs.frontend.startQueue(REQUEST_QUEUE, base)
  }
  fs.close()
})

t.test('guests that leave amid reads leave nothing behind', async (t) => {
  const device = await Device.start(t, ['--keep-alive'])
  writeFileSync(join(device.directory, 'file'), DATA)
  for (let round = 0; round < 5; round++) {
    const guest = open(t, device)
    startReads(guest, OFFSETS)
    guest.fs.close()
  }
  const guest = open(t, device)
  const calls = startReads(guest, OFFSETS)
  finishAll(guest.fs, [...calls.keys()])
  expectData(t, calls)
  guest.fs.close()
})
