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

/** Returns an owner that has lent queues 2 and 3 to two threads. */
function lent(t: Test) {
  const loop = new EventLoop()
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
    start: (data: QueueThreadStart) => void others.push(new FakeThread(data)),
    close: () => {},
  } as unknown as QueueProgram
  const counters = [0, 1, 2].map(() => new SharedArrayBuffer(8))
  const start = { config: { queueThreads: 3 }, counters } as unknown as WorkerStart
  const threads = new QueueThreads(start, makeTableMemory(3), owner, loop, silentLogger, program)
  const turn = () => {
    loop.wait(0)
    threads.progress(performance.now() + LATER_MS)
  }
  threads.lendSoon()
  // Starts the threads; hears that they are ready.
  turn()
  turn()
  t.equal(threads.report().inUse, 3)
  t.teardown(() => {
    for (const other of others) other.close()
    threads.abandon()
    loop.close()
  })
  return { threads, others, owner, loop, turn }
}

t.test('a thread that does not stand still in time serves on', async (t) => {
  const { threads, owner } = lent(t)
  t.equal(threads.takeBackWithin(20), false)
  t.equal(threads.report().inUse, 3)
  t.same(owner.back, [])
})

t.test('a thread that fails ends the share, also while others are waited for', async (t) => {
  const { threads, others, loop } = lent(t)
  others[0]?.tell({ type: 'failed', error: new Error('a bug') })
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
