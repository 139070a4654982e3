/** The owner of a share's queues and its other threads, which here only say that they are ready. */
import t, { type Test } from 'tap'
import { EventLoop, type HandedRing, silentLogger, Wakeup } from 'vhost-user-ts'
import type { InitAgreement } from 'virtio-fs-ts/protocol'
import { makeTableMemory } from '../../../src/passthrough/shared/table-memory.js'
import type { QueueProgram } from '../../../src/share/queue-program.js'
import {
  type QueueThreadNews,
  type QueueThreadStart,
  STATE,
  ThreadState,
} from '../../../src/share/queue-thread-messages.js'
import { QueueThreads } from '../../../src/share/queue-threads.js'
import type { ShareConfig } from '../../../src/share/share-config.js'
import type { WorkerStart } from '../../../src/share/worker-messages.js'

/** Longer than the front-end has to be silent. */
const LATER_MS = 1000
const nothing = { memory: false, session: false }
const ring = (index: number): HandedRing => ({
  index,
  size: 8,
  base: 0,
  enabled: true,
  addresses: null,
  kick: false,
  call: false,
  err: false,
  inFlight: [],
})

/** The other side of a thread: the test sets its state and sends its news. */
class FakeThread {
  private readonly state: Int32Array
  private readonly wakeup: Wakeup

  constructor(private readonly start: QueueThreadStart) {
    this.state = new Int32Array(start.state)
    this.wakeup = new Wakeup(start.newsFd)
  }

  begin(): void {
    this.is(ThreadState.Standing)
    this.tell({ type: 'ready' })
  }

  is(state: number): void {
    Atomics.store(this.state, STATE, state)
  }

  tell(news: QueueThreadNews): void {
    this.start.port.postMessage(news)
    this.wakeup.send()
  }

  /** Ends as a thread does whose JavaScript V8 has ended. */
  die(): void {
    new Wakeup(this.start.endFd).send()
  }

  close(): void {
    this.is(ThreadState.Ended)
    this.start.port.close()
  }
}

/** Returns an owner with three queues for requests, whose threads `start` starts. */
function owned(t: Test, start: (data: QueueThreadStart) => FakeThread) {
  const loop = new EventLoop()
  const warnings: string[] = []
  const logger = { ...silentLogger, warn: (_: object, text: string) => void warnings.push(text) }
  const others: FakeThread[] = []
  const owner = {
    // Nothing asks for more of them.
    agreement: {} as InitAgreement,
    config: {} as ShareConfig,
    rootFd: -1,
    oneThreadReason: undefined as string | undefined,
    isConnected: true,
    lentCount: 0,
    back: [] as number[],
    backend: {
      runningQueues: [0, 1, 2, 3],
      whyNotLend: undefined,
      lend: () => {
        owner.lentCount++
        return { features: '0', regions: [], rings: [2, 3].map((index) => ({ ring: ring(index), fds: [] })) }
      },
      takeBack: (rings: readonly HandedRing[]) => owner.back.push(...rings.map(({ index }) => index)),
      disconnect: () => {
        owner.isConnected = false
      },
    },
  }
  const program = {
    start: (data: QueueThreadStart) => void others.push(start(data)),
    close: () => {},
  } as unknown as QueueProgram
  const counters = [0, 1, 2].map(() => new SharedArrayBuffer(8))
  const workerStart = { config: { queueThreads: 3 }, counters } as unknown as WorkerStart
  const threads = new QueueThreads(workerStart, makeTableMemory(3), owner, loop, logger, program)
  const turn = (laterMs = LATER_MS) => {
    loop.wait(0)
    threads.progress(performance.now() + laterMs)
  }
  t.teardown(() => {
    for (const other of others) other.close()
    threads.abandon()
    loop.close()
  })
  threads.lendSoon()
  return { threads, others, owner, loop, turn, warnings }
}

function begun(data: QueueThreadStart): FakeThread {
  const thread = new FakeThread(data)
  thread.begin()
  return thread
}

/** Returns an owner that has lent queues 2 and 3 to two threads. */
function lent(t: Test) {
  const all = owned(t, begun)
  // Starts the threads; hears that they are ready.
  all.turn()
  all.turn()
  t.equal(all.threads.report().inUse, 3)
  return all
}

/** Ends the threads. Returns the time that this takes. */
function msToEnd(threads: QueueThreads): number {
  const startMs = performance.now()
  threads.end()
  return performance.now() - startMs
}

t.test('a thread that cannot be started is done without, and tried again in the next session', async (t) => {
  let left = 1
  const { threads, turn, warnings } = owned(t, (data) => {
    if (left-- === 0) throw new Error('no more threads')
    return begun(data)
  })
  for (let n = 0; n < 3; n++) turn()
  t.equal(threads.report().inUse, 1)
  t.equal(threads.report().oneThreadBecause, 'another thread cannot be started: no more threads')
  t.equal(warnings.length, 1)
  threads.takeBack({ memory: false, session: true })
  turn()
  turn()
  t.equal(threads.report().inUse, 3, 'each number once')
})

t.test('a thread that dies before it begins is done without, and not waited for', async (t) => {
  const { threads, others, turn, warnings } = owned(t, (data) => new FakeThread(data))
  turn()
  others[0]?.begin()
  others[1]?.die()
  turn()
  turn()
  t.equal(threads.report().inUse, 1)
  t.match(threads.report().oneThreadBecause, /another thread cannot be started: a thread .* has ended/)
  t.equal(warnings.length, 1)
  others[0]?.is(ThreadState.Ended)
  t.ok(msToEnd(threads) < 1000)
})

t.test('a thread that fails before it is ready says why, and is done without', async (t) => {
  const { threads, others, turn } = owned(t, (data) => new FakeThread(data))
  turn()
  others[0]?.begin()
  others[1]?.tell({ type: 'failed', error: new Error('no descriptors'), hasBegun: false })
  others[1]?.is(ThreadState.Ended)
  turn()
  t.equal(threads.report().oneThreadBecause, 'another thread cannot be started: no descriptors')
})

t.test('a thread that does not begin is said to be late once, and not waited for at the end', async (t) => {
  const { threads, others, turn, warnings } = owned(t, (data) => new FakeThread(data))
  turn()
  turn()
  t.same(warnings, [])
  for (let n = 0; n < 3; n++) turn(60_000)
  t.equal(warnings.length, 2, 'one for each thread')
  t.equal(threads.report().oneThreadBecause, 'other threads are starting')
  for (const other of others) other.begin()
  turn()
  turn()
  t.equal(threads.report().inUse, 3, 'it serves all the same')
  const second = owned(t, (data) => new FakeThread(data))
  second.turn()
  second.turn(60_000)
  t.ok(msToEnd(second.threads) < 1000)
})

t.test('a thread that does not stand still in time serves on', async (t) => {
  const { threads, owner } = lent(t)
  t.equal(threads.takeBackWithin(20), false)
  t.equal(threads.report().inUse, 3)
  t.same(owner.back, [])
})

t.test('a thread that fails ends the share, also while others are waited for', async (t) => {
  const { threads, others, loop } = lent(t)
  others[0]?.tell({ type: 'failed', error: new Error('a bug'), hasBegun: true })
  t.throws(() => loop.wait(0), /a bug/)
  for (const other of others) other.is(ThreadState.Ended)
  t.throws(() => threads.takeBack(nothing), /a bug/)
})

t.test('a thread that dies without a word ends the share', async (t) => {
  const { others, loop } = lent(t)
  others[1]?.die()
  t.throws(() => loop.wait(0), /a thread of the share’s queues has ended/)
})

t.test('a thread that has died is not waited for', async (t) => {
  const { threads, others } = lent(t)
  others[1]?.die()
  others[0]?.is(ThreadState.Ended)
  t.throws(() => threads.takeBack(nothing), /a thread of the share’s queues has ended/)
  t.throws(() => threads.checkAlive(), /a thread of the share’s queues has ended/)
})

t.test('a thread that the host holds up has no counts to tell', async (t) => {
  const { threads } = lent(t)
  t.same(threads.counts(), { inFlight: 0, waiting: 0 })
})

t.test('lost memory sends the front-end away', async (t) => {
  const { others, owner, loop } = lent(t)
  others[1]?.tell({ type: 'memory-lost' })
  loop.wait(0)
  t.notOk(owner.isConnected)
})

t.test('a reason against several threads keeps the queues with the owner until it has gone', async (t) => {
  const { threads, others, owner, turn } = lent(t)
  for (const other of others) other.is(ThreadState.Ended)
  t.throws(() => threads.takeBack(nothing))
  owner.oneThreadReason = 'a trace'
  threads.lendSoon()
  turn()
  t.equal(owner.lentCount, 1)
  t.equal(threads.report().oneThreadBecause, 'a trace')
})
