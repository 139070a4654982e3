/** Several threads serve the request queues of a share: no request is lost or carried out twice, whatever happens. */
import { join } from 'node:path'
import t from 'tap'
import { sleep } from '../../support/device/device.js'
import { frontEndEvents } from '../../support/device/front-end-events.js'
import { ThreadedDevice } from '../../support/device/threaded-device.js'
import { underLoad } from '../../support/device/under-load.js'
import { AppendLoad } from '../../support/fuse/append-load.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { seeded } from '../../support/random.js'

t.setTimeout(120_000)

const ROUNDS = 5

for (const [threads, requestQueues] of [
  [2, 2],
  [2, 4],
  [4, 4],
  [4, 3],
] as const) {
  t.test(`${threads} threads serve ${requestQueues} queues`, async (t) => {
    const served = await ThreadedDevice.start(t, threads)
    const fs = mount(t, served.device, { requestQueues })
    await served.inUse(Math.min(threads, requestQueues))
    const load = new AppendLoad(served.device, fs, 'load')
    const queues = Array.from({ length: requestQueues }, (_, n) => n + 1)
    for (let round = 0; round < 50; round++) {
      for (const queue of queues) load.submit(1 + ((round * queue) % 10), queue)
      for (const queue of queues) load.collect(queue)
    }
    load.assertExact()
    t.equal((await served.threads()).inUse, Math.min(threads, requestQueues))
    const { WRITE } = (await served.ask<{ requests: Record<string, number> }>('counts')).requests
    t.ok(WRITE !== undefined && WRITE > 50 * requestQueues, 'each thread counts')
    fs.close()
  })
}

/** What happens to a device while all of its threads have requests. */
const events: Readonly<Record<string, (fs: FuseGuest, served: ThreadedDevice) => void | Promise<void>>> = {
  ...frontEndEvents,
  'a trace begins and ends': async (_, served) => {
    await served.ask('trace', true)
    await served.ask('trace', false)
  },
  'counting of overlap begins and ends': async (_, served) => {
    await served.ask('inspect', true)
    await served.ask('inspect', false)
  },
  'a limit comes and goes': async (_, served) => {
    await served.ask('limits', { iops: '1000000' })
    await served.ask('limits', { iops: 'none' })
  },
  'a fault comes and goes': async (_, served) => {
    await served.ask('fault-add', { opcodes: ['WRITE'], delay: { fixedMs: 1 } })
    await served.ask('fault-clear')
  },
  'opcodes are withheld for a while': async (_, served) => {
    await served.ask('withhold', ['LSEEK'])
    await served.ask('withhold', [])
  },
  'settings change': async (_, served) => {
    await served.ask('set', { 'keep-cache': 'on' })
  },
  'somebody looks at its figures': async (_, served) => {
    await served.ask('report')
  },
  'another process takes its place': async (_, served) => {
    await served.replace()
    await served.ask('trace', false)
  },
}

for (const [what, happens] of Object.entries(events)) {
  t.test(`${what}, under load`, async (t) => {
    const trace = ['--trace', join(tempDir(t), 'trace')]
    const served = await ThreadedDevice.start(t, 3, trace, { storage: 'disk' })
    await served.ask('trace', false)
    const fs = mount(t, served.device, { requestQueues: 4 })
    await underLoad(t, served.device, fs, {
      rounds: ROUNDS,
      ready: () => served.inUse(3),
      happens: () => happens(fs, served),
    })
    fs.close()
  })
}

t.test('all of that, at random moments', async (t) => {
  const random = seeded(t)
  const trace = ['--trace', join(tempDir(t), 'trace')]
  const served = await ThreadedDevice.start(t, 3, trace, { storage: 'disk' })
  await served.ask('trace', false)
  const fs = mount(t, served.device, { requestQueues: 4 })
  const load = new AppendLoad(served.device, fs, 'load')
  const queues = [1, 2, 3, 4]
  const happenings = Object.entries(events).filter(([what]) => !what.startsWith('another process'))
  const endMs = performance.now() + 6000
  let count = 0
  while (performance.now() < endMs) {
    for (const queue of queues) load.submit(1 + random.below(15), queue)
    await random.pick(happenings)[1](fs, served)
    for (const queue of queues) load.collect(queue)
    // As likely before the queues are lent as after that.
    await sleep(random.below(100))
    count++
  }
  load.assertExact()
  t.pass(`${count} of them`)
  fs.close()
})
