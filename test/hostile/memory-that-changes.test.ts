/**
 * Guest memory changes while the device reads it. If the device used other bytes than it has checked, it would leave
 * the share.
 */
import { readdirSync, readlinkSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { concat, cstring, Reader, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { RawRing, WRITE } from '../support/fuse/raw-ring.js'
import type { FlipperStart } from '../support/rings/flipper.js'

const ROUNDS = 4000
const MEMORY_BYTES = 64 << 20
const REQUEST_GPA = 50 << 20
const REPLY_GPA = 51 << 20
const REPLY_BYTES = 144
const HEADER_BYTES = 40

/** Names of four bytes and a NUL, as words: a good one and one that leads out. */
const word = (name: string) => new DataView(Uint8Array.from(Buffer.from(name)).buffer).getInt32(0, true)

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

t.test(`descriptors, header and name change during ${ROUNDS} requests`, async (t) => {
  const fs = mount(t, device, { regionBytes: [MEMORY_BYTES], indirect: false })
  const ring = new RawRing(fs, REQUEST_QUEUE)
  const args = concat(u32(0o755, 0), cstring('good'))
  const lenBytes = HEADER_BYTES + args.length
  const whole = concat(u32(lenBytes, Op.MKDIR), u64(7), u64(ROOT_ID), u32(0, 0, 0, 0), args)
  fs.frontend.write(REQUEST_GPA, whole)
  ring.write([
    { gpa: REQUEST_GPA, lenBytes, flags: 1, next: ring.firstIndex + 1 },
    { gpa: REPLY_GPA, lenBytes: REPLY_BYTES, flags: WRITE },
  ])
  const descGpa = fs.frontend.queues[REQUEST_QUEUE].layout.descGpa + 16 * ring.firstIndex
  const control = new Int32Array(new SharedArrayBuffer(8))
  const words: FlipperStart['words'] = [
    [descGpa + 4, 0, 0x7fff_ffff],
    [descGpa + 8, lenBytes, -1],
    [descGpa + 16 + 8, REPLY_BYTES, -1],
    [descGpa + 16 + 12, WRITE, 0],
    [REQUEST_GPA, lenBytes, 4096],
    [REQUEST_GPA + HEADER_BYTES + 8, word('good'), word('../x')],
  ]
  const start: FlipperStart = { memoryFd: memoryFd(), sizeBytes: MEMORY_BYTES, words, control }
  const worker = new Worker(new URL('../support/rings/flipper.js', import.meta.url), { workerData: start })
  await new Promise((resolve, reject) => {
    worker.once('online', resolve)
    worker.once('error', reject)
  })
  Atomics.wait(control, 0, 0)

  const outcomes = new Map<number, number>()
  for (let round = 0; round < ROUNDS; round++) {
    const { writtenBytes } = ring.submit()
    const r = new Reader(fs.frontend.read(REPLY_GPA, REPLY_BYTES))
    const [replyBytes, error] = [r.u32(), r.i32()]
    const outcome = writtenBytes === 0 ? 1 : error
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    if (writtenBytes > 0 && writtenBytes !== replyBytes)
      t.fail(`used ${writtenBytes}, reply of ${replyBytes}`)
    if (writtenBytes > 0 && error === 0) rmdirSync(join(device.directory, 'good'))
  }
  Atomics.store(control, 1, 1)
  await new Promise((resolve) => worker.once('exit', resolve))
  t.comment(`by error, 1 for a bad chain: ${JSON.stringify([...outcomes])}`)
  t.same(readdirSync(device.directory), [], 'nothing but "good" was ever made')
  t.notOk(readdirSync(join(device.directory, '..')).includes('x'))
  fs.close()
})

/** The one guest memory that this process has. */
function memoryFd(): number {
  const fd = readdirSync('/proc/self/fd').find((n) => {
    try {
      return readlinkSync(`/proc/self/fd/${n}`).startsWith('/memfd:guest-memory')
    } catch {
      return false
    }
  })
  return Number(fd)
}

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
