/** The main thread serves a share, and lends its queues to other threads. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { Device, sleep } from '../../support/device/device.js'
import { frontEndEvents } from '../../support/device/front-end-events.js'
import { underLoad } from '../../support/device/under-load.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { mustBeClosed } from '../../support/fuse/must-be-closed.js'
import { MemoryFiles } from '../../support/host/memory-files.js'

t.setTimeout(180_000)

const THREADS = 3
const QUEUES = [1, 2, 3, 4]
const ROUNDS = 3
const TIMEOUT_MS = 20_000
const options = { requestQueues: QUEUES.length }
/** Without a control socket and with a sandbox, the main thread has nothing else to do. */
const args = ['--queue-threads', `${THREADS}`, '--keep-alive']
const sandboxed = { sandbox: 'namespace', storage: 'disk' } as const

/** The time that each thread of the process has had a processor, in nanoseconds. */
function runTimes({ pid }: Device): ReadonlyMap<number, number> {
  const threads = readdirSync(`/proc/${pid}/task`).map(Number)
  return new Map(
    threads.map((tid) => [
      tid,
      Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0]),
    ]),
  )
}

/** Returns the thread that serves a queue. */
function threadOf(device: Device, fs: FuseGuest, queue: number): number {
  const before = runTimes(device)
  for (let n = 0; n < 100; n++) fs.call(fs.getattrRequest(ROOT_ID), queue)
  const spent = [...runTimes(device)].map(([tid, ns]) => ({ tid, ns: ns - (before.get(tid) ?? 0) }))
  return spent.reduce((most, each) => (each.ns > most.ns ? each : most)).tid
}

/** Waits until so many threads serve queues, of which the main thread is one. */
async function inUse(device: Device, fs: FuseGuest, count: number): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS
  for (;;) {
    const threads = new Set(QUEUES.map((queue) => threadOf(device, fs, queue)))
    if (threads.size === count && threads.has(device.pid)) return
    if (performance.now() > endMs) throw new Error(`not ${count} threads: ${[...threads].join(' ')}`)
    await sleep(20)
  }
}

function answersOf(fs: FuseGuest): number[] {
  const calls = QUEUES.map((queue) =>
    Array.from({ length: 10 }, () => fs.start(fs.getattrRequest(ROOT_ID), queue)),
  )
  calls.forEach((ofQueue, n) => {
    for (const call of ofQueue) while (call.reply === undefined) fs.finish(QUEUES[n])
  })
  return calls.flat().map(({ reply }) => reply?.error ?? 0)
}

for (const [what, happens] of Object.entries(frontEndEvents)) {
  t.test(`${what}, under load`, async (t) => {
    const device = await Device.start(t, args, sandboxed)
    const fs = mount(t, device, options)
    await underLoad(t, device, fs, {
      rounds: ROUNDS,
      ready: () => inUse(device, fs, THREADS),
      happens: () => happens(fs),
    })
    fs.close()
  })
}

t.test('a guest unmounts and mounts again, boots again, and its device is reset', async (t) => {
  const device = await Device.start(t, args, sandboxed)
  const fs = mount(t, device, options)
  for (const queue of QUEUES) {
    await inUse(device, fs, THREADS)
    fs.queue = queue
    fs.destroy()
    t.same(new Set(answersOf(fs)), new Set([5]), 'EIO by each thread')
    fs.init()
    await inUse(device, fs, THREADS)
    fs.init()
    for (const request of ['RESET_DEVICE', 'RESET_OWNER'] as const) {
      await inUse(device, fs, THREADS)
      fs.frontend.request(FrontendRequest[request], 0)
      fs.restartQueues()
      t.same(new Set(answersOf(fs)), new Set([5]))
      fs.init()
    }
  }
  t.same(new Set(answersOf(fs)), new Set([0]))
  fs.close()
})

t.test('front-ends come and go while all threads have requests', async (t) => {
  const device = await Device.start(t, args, sandboxed)
  let threadCount = 0
  for (let round = 0; round < 6; round++) {
    const fs = mount(t, device, options)
    await inUse(device, fs, THREADS)
    if (round === 1) threadCount = runTimes(device).size
    for (const queue of QUEUES) for (let n = 0; n < 10; n++) fs.start(fs.getattrRequest(ROOT_ID), queue)
    fs.close()
  }
  t.ok(runTimes(device).size <= threadCount, 'no thread is added by another front-end')
})

t.test(
  'a front-end truncates the memory of its guest, and another thread touches what is gone',
  async (t) => {
    const device = await Device.start(t, args, sandboxed)
    for (const queue of QUEUES) {
      const files = new MemoryFiles(t)
      const fs = mount(t, device, { ...options, makeMemory: files.make })
      await inUse(device, fs, THREADS)
      fs.start(fs.getattrRequest(ROOT_ID), queue)
      files.truncate()
      fs.frontend.queues[queue]?.kick()
      mustBeClosed(t, fs)
    }
    const next = mount(t, device, options)
    t.same(new Set(answersOf(next)), new Set([0]), 'the next front-end is served')
    next.close()
  },
)

t.test('SIGTERM while all threads have requests', async (t) => {
  const device = await Device.start(t, args, sandboxed)
  const fs = mount(t, device, options)
  await inUse(device, fs, THREADS)
  for (const queue of QUEUES) for (let n = 0; n < 10; n++) fs.start(fs.getattrRequest(ROOT_ID), queue)
  const startMs = performance.now()
  device.kill('SIGTERM')
  t.same(await device.exited(), { status: 0, signal: null })
  t.ok(performance.now() - startMs < 4000, 'at once')
  fs.close()
})

t.test('a share that is served once ends with its front-end', async (t) => {
  const device = await Device.start(t, ['--queue-threads', `${THREADS}`], sandboxed)
  const fs = mount(t, device, options)
  await inUse(device, fs, THREADS)
  for (const queue of QUEUES) fs.start(fs.getattrRequest(ROOT_ID), queue)
  fs.close()
  t.same(await device.exited(), { status: 0, signal: null })
})

t.test('a share with one queue has no other thread', async (t) => {
  const device = await Device.start(t, args, sandboxed)
  const before = runTimes(device).size
  const fs = mount(t, device)
  t.equal(threadOf(device, fs, 1), device.pid, 'the main thread serves')
  t.equal(runTimes(device).size, before)
  fs.close()
})
