/** Several threads serve the request queues of a share: sessions, front-ends, shares and processes end under load. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { isRoot } from '../../support/device/cases.js'
import { until } from '../../support/device/live-device.js'
import { ThreadedDevice } from '../../support/device/threaded-device.js'
import { AppendLoad } from '../../support/fuse/append-load.js'
import { flagBits, Init, Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { type Call, EMPTY } from '../../support/fuse/fuse-client.js'
import { type FuseGuest, LINUX_7_3 } from '../../support/fuse/fuse-guest.js'
import { u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { mustBeClosed } from '../../support/fuse/must-be-closed.js'
import { MemoryFiles } from '../../support/host/memory-files.js'

t.setTimeout(120_000)

const THREADS = 3
const QUEUES = [1, 2, 3, 4]
const options = { requestQueues: QUEUES.length }

const initArgs = new Uint8Array(64)
initArgs.set(u32(7, 38))
const init = { opcode: Op.INIT, nodeid: 0, args: initArgs, reply: { argBytes: 0, dataBytes: 64 } }

/** Returns a guest whose queues several threads serve. */
async function threaded(t: Test, served: ThreadedDevice): Promise<FuseGuest> {
  const fs = mount(t, served.device, options)
  await served.inUse(THREADS)
  return fs
}

/** Puts some requests on each queue. */
function startAll(fs: FuseGuest): Call[][] {
  return QUEUES.map((queue) => Array.from({ length: 10 }, () => fs.start(fs.getattrRequest(ROOT_ID), queue)))
}

/** Waits for the replies. Returns the errors among them. */
function finishAll(fs: FuseGuest, calls: readonly (readonly Call[])[]): number[] {
  calls.forEach((ofQueue, n) => {
    for (const call of ofQueue) while (call.reply === undefined) fs.finish(QUEUES[n])
  })
  return calls.flat().flatMap(({ reply }) => (reply === undefined || reply.error === 0 ? [] : [reply.error]))
}

t.test('a guest unmounts and mounts again, by each of its queues', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const fs = await threaded(t, served)
  for (const [round, queue] of QUEUES.entries()) {
    const load = new AppendLoad(served.device, fs, `load-${round}`)
    for (const each of QUEUES) load.submit(10, each)
    for (const each of QUEUES) load.collect(each)
    load.assertExact()
    await served.inUse(THREADS)
    fs.queue = queue
    fs.destroy()
    t.equal((await served.threads()).oneThreadBecause, 'the guest has not mounted the share')
    t.equal(fs.call(fs.getattrRequest(ROOT_ID), 3).error, 5, 'EIO by each thread')
    fs.init()
    await served.inUse(THREADS)
  }
  const { INIT, DESTROY } = (await served.ask<{ requests: Record<string, number> }>('counts')).requests
  t.same({ INIT, DESTROY }, { INIT: 1 + QUEUES.length, DESTROY: QUEUES.length }, 'each is counted once')
  fs.close()
})

t.test('a guest boots again without an unmount: INIT alone', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const fs = await threaded(t, served)
  for (const queue of QUEUES) {
    fs.queue = queue
    const calls = startAll(fs)
    finishAll(fs, calls)
    fs.init()
    await served.inUse(THREADS)
  }
  t.pass('it goes on')
  fs.close()
})

for (const request of ['RESET_DEVICE', 'RESET_OWNER'] as const) {
  t.test(`${request} while several threads serve`, async (t) => {
    const served = await ThreadedDevice.start(t, THREADS)
    const fs = await threaded(t, served)
    for (let round = 0; round < 4; round++) {
      finishAll(fs, startAll(fs))
      fs.frontend.request(FrontendRequest[request], 0)
      fs.restartQueues()
      for (const queue of QUEUES) t.equal(fs.call(fs.getattrRequest(ROOT_ID), queue).error, 5)
      fs.init()
      await served.inUse(THREADS)
    }
    fs.close()
  })
}

t.test('a front-end leaves while all threads have requests, again and again', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  let threadCount = 0
  for (let round = 0; round < 6; round++) {
    const fs = await threaded(t, served)
    if (round === 1) threadCount = served.live.threadCount()
    const calls = startAll(fs)
    if (round % 2 === 0) finishAll(fs, calls)
    fs.close()
  }
  await served.inUse(1)
  t.ok(served.live.threadCount() <= threadCount, 'no thread is added by another front-end')
})

t.test(
  'a front-end truncates the memory of its guest, and another thread touches what is gone',
  async (t) => {
    const served = await ThreadedDevice.start(t, THREADS)
    for (const queue of [2, 3]) {
      const files = new MemoryFiles(t)
      const fs = mount(t, served.device, { ...options, makeMemory: files.make })
      await served.inUse(THREADS)
      fs.start(fs.getattrRequest(ROOT_ID), queue)
      files.truncate()
      fs.frontend.queues[queue]?.kick()
      mustBeClosed(t, fs)
    }
    const next = await threaded(t, served)
    t.same(finishAll(next, startAll(next)), [], 'the next front-end is served')
    next.close()
  },
)

t.test('a hostile guest sends INIT and DESTROY by every queue at once', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const fs = await threaded(t, served)
  const destroy = { opcode: Op.DESTROY, nodeid: 0, reply: EMPTY }
  for (let round = 0; round < 10; round++) {
    const calls = QUEUES.map((queue) =>
      [destroy, init, fs.getattrRequest(ROOT_ID), init, destroy, init, fs.getattrRequest(ROOT_ID)].map(
        (request) => fs.start(request, queue),
      ),
    )
    for (const error of finishAll(fs, calls)) t.equal(error, 5, 'EIO between two sessions')
    if (round % 3 === 0) {
      fs.init()
      await served.inUse(THREADS)
    }
  }
  fs.init()
  t.same(finishAll(fs, startAll(fs)), [])
  fs.close()
})

t.test('a queue stops while its INIT is on the way to the first thread: none is lost', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const fs = await threaded(t, served)
  let answered = 0
  for (let round = 0; round < 20; round++) {
    await served.inUse(THREADS)
    const { frontend } = fs
    const queue = frontend.queues[2]
    const call = fs.start(init, 2)
    const endMs = performance.now() + (round % 4) * 0.2
    while (performance.now() < endMs);
    const base = frontend.stopQueue(2)
    const taken = (queue.avail[1] - base) & 0xffff
    const reply = fs.finishNow(2, 0)?.reply
    t.equal(taken === 0, reply !== undefined, 'what was taken from the ring is answered when it stands still')
    if (reply !== undefined) answered++
    frontend.startQueue(2, base)
    while (call.reply === undefined) fs.finish(2)
    t.equal(call.reply.error, 0)
  }
  t.comment(`${answered} of 20 were answered as the queue stopped`)
  fs.close()
})

t.test('SIGTERM while all threads have requests', async (t) => {
  for (const sandbox of isRoot ? (['none', 'namespace'] as const) : (['none'] as const)) {
    const served = await ThreadedDevice.start(t, THREADS, [], { sandbox })
    const fs = await threaded(t, served)
    startAll(fs)
    const startMs = performance.now()
    served.device.kill('SIGTERM')
    t.same(await served.device.exited(), { status: 0, signal: null })
    t.ok(performance.now() - startMs < 4000, 'at once')
    fs.close()
  }
})

t.test('a share is removed while all threads have requests, and its threads are gone', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const changes = await served.live.changes()
  const { words, socketPath, directory } = served.live.share('second')
  writeFileSync(join(directory, 'file'), '')
  const alone = served.live.threadCount()
  const control = await served.live.control()
  for (let round = 0; round < 3; round++) {
    await changes.ask('share-add', words)
    const fs = mount(t, { socketPath }, options)
    const inUse = () =>
      control
        .ask<{ queueThreads: { inUse: number } }>('state', undefined, 'second')
        .then(({ queueThreads }) => queueThreads.inUse)
    while ((await inUse()) < THREADS) await new Promise((resolve) => setTimeout(resolve, 10))
    const calls = startAll(fs)
    await changes.ask('share-remove', 'second')
    finishAll(fs, calls)
    t.equal(fs.call(fs.getattrRequest(ROOT_ID), 2).error, 107, 'ENOTCONN')
    fs.close()
    await until(
      () => served.live.threadCount() <= alone,
      () => `${served.live.threadCount()} threads, not ${alone}`,
    )
  }
  t.pass('nothing is left')
})

t.test('a share whose process serves once ends with its front-end', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS, ['--no-keep-alive'])
  const fs = await threaded(t, served)
  startAll(fs)
  fs.close()
  t.same(await served.device.exited(), { status: 0, signal: null })
})

for (const sandbox of isRoot ? (['namespace', 'chroot'] as const) : (['namespace'] as const)) {
  t.test(`threads start in a sealed process: --sandbox ${sandbox}`, async (t) => {
    const served = await ThreadedDevice.start(t, THREADS, ['--seccomp', 'kill'], { sandbox })
    const fs = await threaded(t, served)
    const load = new AppendLoad(served.device, fs, 'load')
    for (const queue of QUEUES) load.submit(50, queue)
    for (const queue of QUEUES) load.collect(queue)
    load.assertExact()
    t.equal(new Set(served.device.threadIdentities()).size, 1, 'all threads have the same identity')
    fs.close()
  })
}

const locks = { flags: LINUX_7_3.flags | flagBits(Init.POSIX_LOCKS, Init.FLOCK_LOCKS, Init.EXPORT_SUPPORT) }

for (const [args, reason] of [
  [['--posix-lock'], 'record locks are those of the host'],
  [['--flock'], 'flock locks are those of the host'],
  [['--export'], 'the guest may export the share'],
  [['--quota-bytes', '1g'], 'the share has a quota'],
  [['--limit-iops', '1000'], 'the requests of the guest are limited'],
  [['--inspect'], 'requests are inspected or disturbed'],
  [['--withhold', 'LSEEK'], 'opcodes are withheld'],
] as const) {
  t.test(`one thread serves all queues with ${args.join(' ')}`, async (t) => {
    const served = await ThreadedDevice.start(t, THREADS, args)
    const fs = mount(t, served.device, { ...options, init: locks })
    t.same(finishAll(fs, startAll(fs)), [])
    t.same(await served.threads(), { configured: THREADS, inUse: 1, oneThreadBecause: reason })
    fs.close()
  })
}

t.test('the log has what other threads have to say, at the level of the process', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const fs = await threaded(t, served)
  await served.ask('set', { 'log-level': 'error' })
  const args = Buffer.from('name\0')
  const wrong = { opcode: Op.LOOKUP, nodeid: ROOT_ID, args, headerLenBytes: 7, reply: { argBytes: 128 } }
  t.equal(fs.call(wrong, 2).error, 5)
  await served.ask('set', { 'log-level': 'warn' })
  await served.inUse(THREADS)
  for (let n = 0; n < 3; n++) t.equal(fs.call(wrong, 3).error, 5)
  await served.device.waitForLog(({ msg }) => msg === 'request of a wrong length')
  t.equal(served.device.logs().filter(({ msg }) => msg === 'request of a wrong length').length, 1)
  fs.close()
})

t.test('several threads serve when a limit has ended, and none of them knows it', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS, ['--limit-iops', '20'])
  const fs = mount(t, served.device, options)
  await served.ask('limits', { iops: 'none' })
  await served.inUse(THREADS)
  const startMs = performance.now()
  for (let round = 0; round < 10; round++) finishAll(fs, startAll(fs))
  t.ok(performance.now() - startMs < 4000, '400 requests')
  fs.close()
})

t.test('a share with one queue has one thread', async (t) => {
  const served = await ThreadedDevice.start(t, THREADS)
  const before = served.live.threadCount()
  const fs = mount(t, served.device)
  fs.getattr(ROOT_ID)
  t.match(await served.threads(), { inUse: 1 })
  t.equal(served.live.threadCount(), before)
  fs.close()
})
