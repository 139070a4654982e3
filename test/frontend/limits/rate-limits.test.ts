/** Limits of requests and bytes in a second: what waits, what does not wait, and how they change. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { LimitsReport } from '../../../src/share/share-limits.js'
import { type ControlClient, startControlled } from '../../support/device/control-client.js'
import { sleep } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { startWrite } from '../../support/fuse/writers.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDWR = 2
const KIB = 1024
/** A rate at which little more comes through during a test. */
const STOPPED = '1:1'
/** So many requests take a minute. */
const MANY = 60

const limitsOf = (control: ControlClient, change?: object) => control.ask<LimitsReport>('limits', change)

/** Waits until some requests wait. */
async function untilSomeWait(control: ControlClient): Promise<void> {
  while ((await limitsOf(control)).waiting === 0) await sleep(2)
}

/** Takes replies until the one for `call` has come. */
function finishUntil(fs: FuseGuest, call: Call): void {
  while (fs.finish() !== call) {}
}

function startGetattr(fs: FuseGuest): Call {
  return fs.start(fs.getattrRequest(ROOT_ID))
}

/** Waits for the replies that have not come yet. */
function finishRest(fs: FuseGuest, calls: readonly Call[]): void {
  while (calls.some(({ reply }) => reply === undefined)) fs.finish()
}

function startMany(fs: FuseGuest): readonly Call[] {
  return Array.from({ length: MANY }, () => startGetattr(fs))
}

/** A guest with a file whose limit is used up: the next requests wait. */
async function startStopped(t: Test) {
  const { device, control, controlPath } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  await limitsOf(control, { iops: STOPPED })
  startGetattr(fs)
  fs.finish()
  return { device, control, controlPath, fs, file }
}

t.test(
  'no more requests pass in a time than the rate and the burst; none is dropped; the order stays',
  async (t) => {
    const { device, control } = await startControlled(t, ['--limit-iops', '200:20'])
    // The device reads the clock once a batch: what it reads last may be as old as the mount.
    const startMs = performance.now()
    const fs = mount(t, device)
    const calls = Array.from({ length: 100 }, () => startGetattr(fs))
    for (const [n, call] of calls.entries()) {
      t.equal(fs.finish(), call, `request ${n}`)
      const allowed = 20 + 1 + ((performance.now() - startMs) / 1000) * 200
      t.ok(n + 1 <= allowed, `${n + 1} of ${allowed.toFixed(1)}`)
    }
    const { held, heldSeconds, iops, waiting } = await limitsOf(control)
    t.match({ iops, waiting }, { iops: '200:20', waiting: 0 })
    t.ok(held > 0, `${held} waited`)
    t.ok(heldSeconds > 0)
  },
)

t.test('RELEASE, FORGET and INTERRUPT do not wait behind a limit', async (t) => {
  const { control, fs, file } = await startStopped(t)
  const calls = startMany(fs)
  await untilSomeWait(control)
  const args = concat(u64(file.handle), u32(0, 0), u64(0))
  const release = fs.start({ opcode: Op.RELEASE, nodeid: file.nodeid, args, reply: { argBytes: 0 } })
  finishUntil(fs, release)
  fs.forget(file.nodeid, 1)
  fs.call({ opcode: Op.INTERRUPT, nodeid: 0, args: u64(calls[0]?.unique ?? 0), reply: 'none' }, 0)
  t.ok((await limitsOf(control)).waiting > 0)
  const { pendingRequests } = await control.ask<{ pendingRequests: number }>('state')
  t.ok(pendingRequests > 0, 'ctl does not wait either')
  await limitsOf(control, { iops: 'none' })
  finishRest(fs, calls)
})

t.test('a limit that is changed or ended takes effect on requests that wait', async (t) => {
  const { controlPath, control, fs } = await startStopped(t)
  const calls = startMany(fs)
  const ctl = (...args: readonly string[]) => runProgram(['ctl', '--control-socket', controlPath, ...args])
  t.match(JSON.parse(ctl('limits', 'iops=100000:7,bandwidth=20M/none').stdout), {
    iops: '100000:7',
    bandwidth: '20971520:2097152/none',
  })
  finishRest(fs, calls)
  t.match(await limitsOf(control, { iops: 'none', bandwidth: 'none' }), { iops: 'none', bandwidth: 'none' })
  t.match(ctl('limits', 'iops=0'), { status: 2, stderr: /iops: '0' is not a number of requests/ })
  t.match(ctl('limits', 'bandwidth=1X'), { status: 2, stderr: /bandwidth: '1X' is not a number of bytes/ })
  t.match(ctl('limits', 'iop=1'), { status: 2, stderr: /unknown key 'iop'/ })
  t.match(await limitsOf(control), { iops: 'none', waiting: 0 })
})

t.test('rings that stop get their requests back, and the guest goes on', async (t) => {
  const { device, control, fs } = await startStopped(t)
  const calls = startMany(fs)
  await untilSomeWait(control)
  fs.frontend.stopQueue(1)
  finishRest(fs, calls)
  fs.close()
  const other = mount(t, device)
  await limitsOf(control, { iops: 'none' })
  other.getattr(ROOT_ID)
})

t.test('a limit delays neither the end of a front-end nor a signal', async (t) => {
  const { device, control, fs } = await startStopped(t)
  startMany(fs)
  await untilSomeWait(control)
  fs.close()
  await limitsOf(control, { iops: 'none' })
  const other = mount(t, device)
  await limitsOf(control, { iops: STOPPED })
  startMany(other)
  await untilSomeWait(control)
  await device.stop()
  t.notOk(device.alive)
})

t.test('reads do not wait for the bytes of writes, and other requests wait for neither', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const data = new Uint8Array(64 * KIB).fill(7)
  fs.write(file.nodeid, file.handle, 0, data)
  await limitsOf(control, { bandwidth: 'none/1K:1K' })
  fs.write(file.nodeid, file.handle, 0, data)
  startWrite(fs, file, 0, data.length)
  await untilSomeWait(control)
  const reads = fs.readRequest(file.nodeid, file.handle, 0, data.length)
  const read = fs.start(reads)
  t.equal(fs.finish(), read)
  const getattr = startGetattr(fs)
  t.equal(fs.finish(), getattr)
  t.equal((await limitsOf(control)).waiting, 1)
  await limitsOf(control, { bandwidth: '1K:1K/none' })
  t.equal(fs.finish().request.opcode, Op.WRITE)
  fs.read(file.nodeid, file.handle, 0, data.length)
  fs.start(reads)
  await untilSomeWait(control)
  fs.write(file.nodeid, file.handle, 0, data)
  await limitsOf(control, { bandwidth: 'none' })
  t.equal(fs.finish().request.opcode, Op.READ)
})

t.test('copies on the host are charged for what they copied, and are made in pieces', async (t) => {
  const { device, control } = await startControlled(t, ['--limit-bandwidth', '1M'])
  writeFileSync(join(device.directory, 'from'), new Uint8Array(512 * KIB).fill(1))
  const fs = mount(t, device)
  const from = fs.lookup(ROOT_ID, 'from')
  const { handle } = fs.open(from.nodeid, O_RDWR)
  const to = fs.create(ROOT_ID, 'to', O_RDWR)
  const copy = () => fs.copyFileRange([from.nodeid, handle, 0], [to.nodeid, to.handle, 0], 512 * KIB)
  const copied = copy()
  t.ok(copied > 0 && copied <= 103 * KIB, `${copied}`)
  t.ok((await limitsOf(control)).bandwidth.startsWith('1048576:'))
  const request = { opcode: Op.COPY_FILE_RANGE, nodeid: from.nodeid, reply: { argBytes: 8 } }
  const args = concat(u64(handle, 0, to.nodeid, to.handle, 0, 512 * KIB, 0))
  const copies = Array.from({ length: 20 }, () => fs.start({ ...request, args }))
  await untilSomeWait(control)
  await limitsOf(control, { bandwidth: 'none' })
  finishRest(fs, copies)
})

t.test('a limit of one share does not slow another share', async (t) => {
  const place = tempDir(t)
  const share = (tag: string, more = '') => {
    mkdirSync(join(place, tag))
    return ['--share', `tag=${tag},path=${join(place, tag)},socket=${place}/${tag}.sock${more}`]
  }
  const { control } = await startControlled(t, [...share('slow', ',limit-iops=1:1'), ...share('free')])
  const slow = mount(t, { socketPath: `${place}/slow.sock` })
  startMany(slow)
  const free = mount(t, { socketPath: `${place}/free.sock` })
  for (let n = 0; n < 300; n++) free.getattr(ROOT_ID)
  const { waiting } = await control.ask<LimitsReport>('limits', undefined, 'slow')
  t.ok(waiting > 0, `${waiting} wait`)
  t.match(await control.ask('limits', undefined, 'free'), { iops: 'none', held: 0 })
})

t.test('requests that waited are inspected and disturbed like others', async (t) => {
  const { control, fs } = await startStopped(t)
  await control.ask('inspect', true)
  await control.ask('fault-add', { opcodes: ['GETATTR'], errno: 'EIO', limit: 2 })
  const calls = startMany(fs)
  await untilSomeWait(control)
  await limitsOf(control, { iops: 'none' })
  finishRest(fs, calls)
  t.equal(calls.filter(({ reply }) => reply?.error === 5).length, 2)
  t.match(await control.ask('latency'), [{ opcode: 'GETATTR', count: MANY }])
})

t.test('malformed limits are refused at the start', async (t) => {
  const start = (...args: readonly string[]) =>
    runProgram(['--shared-dir', tempDir(t), '--socket-path', `${tempDir(t)}/s`, ...args])
  t.match(start('--limit-iops', 'many'), { status: 2, stderr: /--limit-iops: 'many' is not a number/ })
  t.match(start('--limit-bandwidth', '1M/2M/3M'), { status: 2, stderr: /--limit-bandwidth: .*two parts/ })
})

t.test('a request that is due in a hundred days waits, and nothing else does', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  await limitsOf(control, { bandwidth: '1:1' })
  const bytes = 9 * 1024 * KIB
  fs.roomMayChange = true
  const args = concat(u64(file.handle, 0), u32(bytes, 0), u64(0), u32(0, 0))
  const read = { opcode: Op.READ, nodeid: file.nodeid, args, reply: { argBytes: 0, dataBytes: bytes } }
  fs.succeed(read)
  const call = fs.start(read)
  await untilSomeWait(control)
  fs.getattr(ROOT_ID)
  await limitsOf(control, { bandwidth: 'none' })
  finishUntil(fs, call)
})
