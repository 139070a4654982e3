/** A thread that serves queues of a share ends by a bug, or without a word: the share ends, and nothing waits for it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { levelOf } from '../../../src/share/share-logger.js'
import { sleep } from '../../support/device/device.js'
import { ThreadedDevice } from '../../support/device/threaded-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { cstring } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const THREADS = 3
const QUEUES = [1, 2, 3, 4]
/** Together far more than it takes. A hang lasts for ever. */
const ROUNDS = 10
const ROUND_MS = 1000
const ENTRY_BYTES = 128

/** Has the last thread of a share die once the level of the log has changed, by its next order of a kind, or with the lock. */
const preload = (event: string, death: string) => `
  const threads = require('node:worker_threads')
  const isChosen = () => threads.workerData?.queueThread === ${THREADS - 1}
  const isDue = (event) =>
    isChosen() && event === '${event}' && new Int32Array(threads.workerData.leastLevel)[0] !== ${levelOf('info')}
  const die = () => {
    ${death}
  }
  const { receiveMessageOnPort } = threads
  threads.receiveMessageOnPort = (port) => {
    const got = receiveMessageOnPort(port)
    if (isDue(got?.message.type)) die()
    return got
  }
  const { compareExchange, load } = Atomics
  let isHeld = false
  Atomics.compareExchange = (words, at, from, to) => {
    const was = compareExchange(words, at, from, to)
    if (at === 0 && was === 0 && isDue('lock') && words.buffer === threads.workerData.tables.words) isHeld = true
    return was
  }
  Atomics.load = (words, at) => {
    if (isHeld) {
      isHeld = false
      // The other threads wait for the lock meanwhile.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
      die()
    }
    return load(words, at)
  }`

const bug = `throw new Error('this is the bug')`
/** V8 ends the thread's JavaScript: nothing is caught, and no 'finally' runs. */
const memory = 'for (const all = []; ; ) all.push(new Array(1e5).fill(all))'

/** Returns a device with a thread that is going to die, and its guest. */
async function mortal(t: Test, event: string, death: string) {
  const path = join(tempDir(t), 'preload.cjs')
  writeFileSync(path, preload(event, death))
  const launcher = ['env', `NODE_OPTIONS=--max-old-space-size=48 --require=${path}`]
  const served = await ThreadedDevice.start(t, THREADS, [], { launcher })
  const fs = mount(t, served.device, { requestQueues: QUEUES.length })
  await served.inUse(THREADS)
  served.device.expectFailure()
  writeFileSync(join(served.device.directory, 'file'), '')
  await served.ask('set', { 'log-level': 'error' }).catch(() => {})
  if (event !== 'stand') await served.inUse(THREADS)
  return { served, fs }
}

/** Puts requests on each queue that need the lock of the tables. */
function startAll(fs: FuseGuest): void {
  const lookup = {
    opcode: Op.LOOKUP,
    nodeid: ROOT_ID,
    args: cstring('file'),
    reply: { argBytes: ENTRY_BYTES },
  }
  for (const queue of QUEUES) for (let n = 0; n < 10; n++) fs.start(lookup, queue)
}

const asks = (command: string, argument?: unknown) => (served: ThreadedDevice) => {
  served.ask(command, argument).catch(() => {})
}
const toServe = () => {}
const toCount = asks('figures')
const toStand = asks('limits', { iops: 'none' })
const toEnd = (served: ThreadedDevice) => served.device.kill('SIGTERM')
const toCountAndEnd = (served: ThreadedDevice) => {
  toCount(served)
  toEnd(served)
}

const cases: readonly [string, string, string, (served: ThreadedDevice) => void][] = [
  ['by a bug', 'count', bug, toCount],
  ['by a bug, with the lock of the tables', 'lock', bug, toServe],
  ['by a bug, with the lock of the tables, before a command', 'lock', bug, toStand],
  ['for want of memory', 'count', memory, toCount],
  ['for want of memory, as a command waits for it', 'stand', memory, toStand],
  ['for want of memory, before SIGTERM', 'count', memory, toCountAndEnd],
  ['for want of memory, with the lock of the tables', 'lock', memory, toServe],
  ['for want of memory, with the lock of the tables, before SIGTERM', 'lock', memory, toEnd],
]

for (const [how, event, death, act] of cases) {
  t.test(`a thread dies ${how}`, async (t) => {
    const { served, fs } = await mortal(t, event, death)
    const { device } = served
    // Again if the queues were just with their owner.
    for (let n = 0; n < ROUNDS && device.alive; n++) {
      if (event === 'lock') startAll(fs)
      await sleep(100)
      act(served)
      await sleep(ROUND_MS)
    }
    t.notOk(device.alive, 'the share ends')
    fs.close()
    const log = device.logs()
    // A process that ends does not wait for its shares to say anything.
    if (how.endsWith('SIGTERM')) return
    t.ok(
      log.some(({ msg }) => msg === 'the share failed'),
      'and says so',
    )
    t.match(
      JSON.stringify(log),
      death === bug ? /this is the bug/ : /a thread of the share’s queues has ended/,
    )
  })
}

t.test('the first thread of a share dies for want of memory: the others do not keep it', async (t) => {
  const path = join(tempDir(t), 'preload.cjs')
  writeFileSync(
    path,
    `const threads = require('node:worker_threads')
    const { receiveMessageOnPort } = threads
    threads.receiveMessageOnPort = (port) => {
      const got = receiveMessageOnPort(port)
      if (got?.message.name === 'figures') ${memory}
      return got
    }`,
  )
  const launcher = ['env', `NODE_OPTIONS=--max-old-space-size=48 --require=${path}`]
  const served = await ThreadedDevice.start(t, THREADS, [], { launcher })
  const { device } = served
  const fs = mount(t, device, { requestQueues: QUEUES.length })
  await served.inUse(THREADS)
  device.expectFailure()
  toCount(served)
  for (let n = 0; n < ROUNDS && device.alive; n++) await sleep(ROUND_MS)
  t.notOk(device.alive, 'the share ends')
  fs.close()
  t.match(JSON.stringify(device.logs()), /ERR_WORKER_OUT_OF_MEMORY/)
})
