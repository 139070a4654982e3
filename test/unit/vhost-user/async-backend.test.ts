/** Requests that are answered later, on Node's event loop, also when their ring stops, or memory or guest leave. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { type DriverVirtqueue, type Frontend, FrontendRequest } from 'vhost-user-ts/frontend'
import { VringState } from '#vhost-user/session/wire'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'
import {
  ANSWERED,
  CANCELLED,
  Count,
  type PromiseDeviceData,
  Reply,
} from '../../support/rings/promise-device.js'

const TIMEOUT_MS = 20_000
/** A spin that a test does not wait for, unless other programs end it. */
const SPIN_MS = 4000
const PATIENCE_MS = 60_000
/** Requests after which a device spins again: see src/vhost-user/spin-trials.ts. */
const REST = 128
const MIB = 2 ** 20

class Rig {
  readonly counts = new Int32Array(new SharedArrayBuffer(64))
  readonly socketPath: string
  readonly worker: Worker
  /** The worker's message when its server has closed. */
  readonly closed: Promise<unknown>
  readonly exited: Promise<unknown>

  constructor(t: Test, options: Partial<PromiseDeviceData> = {}) {
    this.socketPath = `${tempDir(t)}/socket`
    const workerData: PromiseDeviceData = {
      socketPath: this.socketPath,
      counts: this.counts,
      stopTimeoutMs: TIMEOUT_MS,
      cancels: true,
      pollUs: 50,
      once: true,
      ...options,
    }
    this.worker = new Worker(new URL('../../support/rings/promise-device.js', import.meta.url), {
      workerData,
    })
    this.closed = once(this.worker, 'message').then(([message]) => message)
    this.exited = once(this.worker, 'exit').then(([status]) => status)
    t.teardown(() => this.worker.terminate())
  }

  count(counter: number): number {
    return Atomics.load(this.counts, counter)
  }

  /** The worker's count, as soon as it is no longer `before`. */
  after(counter: number, before: number): number {
    Atomics.wait(this.counts, counter, before, TIMEOUT_MS)
    return this.count(counter)
  }
}

class Guest {
  readonly queue: DriverVirtqueue
  private readonly replies = new Map<number, number>()

  constructor(
    readonly frontend: Frontend,
    eventIdx = false,
  ) {
    if (!eventIdx) frontend.negotiate()
    this.queue = frontend.addQueue(16)
  }

  static async connect(rig: Rig): Promise<Guest> {
    const frontend = await connectSoon(rig.socketPath)
    return new Guest(frontend)
  }

  ask(kind: number, replyGpa?: number): number {
    const head = this.askWithoutKick(kind, replyGpa)
    this.queue.kick()
    return head
  }

  /** Sends a request without a kick, which only a device that watches the ring sees. */
  askWithoutKick(kind: number, replyGpa = this.frontend.allocate(1, 16)): number {
    const request = this.frontend.write(this.frontend.allocate(1, 16), Uint8Array.of(kind))
    const head = this.queue.submit([request], [{ gpa: replyGpa, lenBytes: 1 }])
    this.replies.set(head, replyGpa)
    return head
  }

  /** Sends a request, and returns when the device holds it. */
  begin(kind: number, replyGpa?: number): number {
    const head = this.ask(kind, replyGpa)
    if (this.call(Reply.AT_ONCE) !== ANSWERED) throw new Error('no answer at once')
    return head
  }

  /** Returns the request of the next reply, and its byte. */
  next(timeoutMs = TIMEOUT_MS): { head: number; reply: number } | undefined {
    const used = this.queue.reap(timeoutMs)
    if (used === undefined) return undefined
    return { head: used.head, reply: this.frontend.read(this.replies.get(used.head) ?? 0, 1)[0] }
  }

  call(kind: number): number | undefined {
    this.ask(kind)
    return this.next()?.reply
  }

  /**
   * Sends a request without a kick, and returns its reply. Where others want the processor, the device gives spinning up for
   * some requests, so this is tried again. Returns undefined if no spin has seen a request for a minute.
   */
  callSpinning(kind: number): number | undefined {
    const endMs = performance.now() + PATIENCE_MS
    while (performance.now() < endMs) {
      this.askWithoutKick(kind)
      const seen = this.next(SPIN_MS / 2)
      if (seen !== undefined) return seen.reply
      this.queue.kick()
      this.next()
      for (let n = 0; n < REST; n++) this.call(Reply.AT_ONCE)
    }
    return undefined
  }
}

for (const pollUs of [0, 50]) {
  t.test(`promises, timers and plain values are served, spinning ${pollUs} us`, async (t) => {
    const rig = new Rig(t, { pollUs })
    const guest = await Guest.connect(rig)
    for (let round = 0; round < 50; round++) {
      for (const kind of [Reply.AT_ONCE, Reply.AS_PROMISE]) t.equal(guest.call(kind), ANSWERED)
    }
    t.equal(guest.call(Reply.AFTER_A_TIMER), ANSWERED)
    guest.frontend.close()
    t.equal(await rig.closed, 'closed')
    t.equal(await rig.exited, 0, 'nothing keeps the thread alive')
  })
}

t.test('a slow reply does not hold up others', async (t) => {
  const rig = new Rig(t)
  const guest = await Guest.connect(rig)
  for (const slow of [Reply.WHEN_RELEASED, Reply.PROMISE_WHEN_RELEASED]) {
    const first = guest.ask(slow)
    const second = guest.ask(Reply.AS_PROMISE)
    t.equal(guest.next()?.head, second)
    const third = guest.ask(Reply.RELEASE)
    const heads = [guest.next()?.head, guest.next()?.head]
    t.same(new Set(heads), new Set([first, third]))
  }
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test(
  'a spin beside a promise sees requests, and lets timers and sockets of Node have their turn',
  async (t) => {
    const rig = new Rig(t, { pollUs: 1000 * SPIN_MS, cancels: false })
    const guest = await Guest.connect(rig)
    guest.begin(Reply.WHEN_ABORTED)
    t.equal(guest.callSpinning(Reply.AT_ONCE), ANSWERED)
    t.equal(guest.callSpinning(Reply.AFTER_A_TIMER), ANSWERED, 'long before the spin ends')
    guest.frontend.close()
    t.equal(await rig.closed, 'closed')
  },
)

t.test('a full device looks at its rings again once it is free, and not before', async (t) => {
  const rig = new Rig(t, { most: 1, pollUs: 1000 * SPIN_MS, cancels: false })
  const first = await Guest.connect(rig)
  // Beside a promise, the long spin lets messages have their turn.
  first.begin(Reply.WHEN_ABORTED)
  const second = new Guest(first.frontend, true)
  const slow = second.ask(Reply.WHEN_RELEASED)
  t.equal(rig.after(Count.WAITING, 0), 1)
  // What comes while a queue is served joins its batch. Once queue 0 has its turn, the batch of queue 1 is over.
  t.equal(first.call(Reply.AT_ONCE), ANSWERED)
  const kept = second.ask(Reply.AT_ONCE)
  t.equal(first.call(Reply.AT_ONCE), ANSWERED, 'queue 0 is served')
  const turns = rig.count(Count.TURNS)
  t.equal(second.next(100), undefined)
  t.ok(rig.count(Count.TURNS) - turns < 100, 'it sleeps meanwhile')
  t.equal(first.call(Reply.RELEASE), ANSWERED)
  t.same([second.next()?.head, second.next()?.head], [slow, kept], 'the one that had to wait comes last')
  first.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('a full queue of promises is answered to the last', async (t) => {
  const rig = new Rig(t)
  const guest = await Guest.connect(rig)
  for (let round = 0; round < 100; round++) {
    for (let n = 0; n < 8; n++) guest.ask(n % 2 === 0 ? Reply.AS_PROMISE : Reply.AT_ONCE)
    for (let n = 0; n < 8; n++) t.equal(guest.next()?.reply, ANSWERED)
    guest.frontend.freeBuffers()
  }
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('a queue that stops waits for its requests', async (t) => {
  const rig = new Rig(t)
  const guest = await Guest.connect(rig)
  guest.begin(Reply.AFTER_A_TIMER)
  guest.begin(Reply.AFTER_A_TIMER)
  t.equal(guest.frontend.stopQueue(0), 4)
  t.same([guest.next(0)?.reply, guest.next(0)?.reply], [ANSWERED, ANSWERED], 'finished before the answer')
  t.equal(rig.count(Count.CANCELS), 0)
  guest.frontend.startQueue(0, 4)
  t.equal(guest.call(Reply.AS_PROMISE), ANSWERED, 'and goes on')
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('a queue that stops takes no more requests meanwhile', async (t) => {
  // A spin could see the request before the message. The descriptors come in the order in which they became readable.
  const rig = new Rig(t, { pollUs: 0 })
  const guest = await Guest.connect(rig)
  const { frontend } = guest
  guest.begin(Reply.AFTER_A_TIMER)
  VringState.write(frontend.connection.body, 0, 0)
  frontend.send(FrontendRequest.GET_VRING_BASE, VringState.BYTES, false)
  guest.ask(Reply.AT_ONCE)
  t.equal(VringState.num(frontend.receive(FrontendRequest.GET_VRING_BASE).payload), 2)
  t.equal(guest.next()?.reply, ANSWERED, 'of the first')
  t.equal(guest.next(100), undefined, 'nothing more')
  frontend.startQueue(0, 2)
  t.equal(guest.next()?.reply, ANSWERED, 'where it stopped')
  frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('requests that outlast the time limit are cancelled, and answered with an error', async (t) => {
  const rig = new Rig(t, { stopTimeoutMs: 20 })
  const guest = await Guest.connect(rig)
  guest.begin(Reply.WHEN_RELEASED)
  guest.begin(Reply.PROMISE_WHEN_RELEASED)
  t.equal(guest.frontend.stopQueue(0), 4)
  t.same([guest.next(0)?.reply, guest.next(0)?.reply], [CANCELLED, CANCELLED])
  t.equal(rig.count(Count.CANCELS), 2)
  guest.frontend.startQueue(0, 4)
  t.equal(guest.call(Reply.RELEASE), ANSWERED)
  t.equal(rig.count(Count.LATE_WRITES), 2, 'what comes later writes nothing')
  t.equal(rig.count(Count.LATE_COMPLETIONS), 1, 'and is told so')
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('a promise that heeds its signal may answer when it is cancelled', async (t) => {
  const rig = new Rig(t, { stopTimeoutMs: 20, cancels: false })
  const guest = await Guest.connect(rig)
  guest.begin(Reply.WHEN_ABORTED)
  t.equal(guest.frontend.stopQueue(0), 2)
  t.equal(guest.next(0)?.reply, CANCELLED)
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test(
  'a request that the device does not cancel is given up, and its reply never reaches the guest',
  async (t) => {
    const rig = new Rig(t, { stopTimeoutMs: 20, cancels: false })
    const guest = await Guest.connect(rig)
    guest.begin(Reply.WHEN_RELEASED)
    guest.begin(Reply.PROMISE_WHEN_RELEASED)
    t.equal(guest.frontend.stopQueue(0), 4)
    t.equal(guest.next(0), undefined)
    guest.frontend.startQueue(0, 4)
    t.equal(guest.call(Reply.RELEASE), ANSWERED)
    t.equal(guest.next(100), undefined)
    t.equal(rig.count(Count.LATE_WRITES), 2)
    guest.frontend.close()
    t.equal(await rig.closed, 'closed')
  },
)

t.test('a reset gives up at once', async (t) => {
  const rig = new Rig(t, { cancels: false })
  const guest = await Guest.connect(rig)
  guest.begin(Reply.WHEN_ABORTED)
  guest.begin(Reply.PROMISE_WHEN_RELEASED)
  guest.frontend.request(FrontendRequest.RESET_DEVICE, 0)
  t.equal(rig.count(Count.RESETS), 1)
  t.equal(rig.count(Count.ABORTED), 1)
  t.equal(guest.next(0), undefined)
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test(
  'the removal of memory waits for requests, and the memory is never written to afterwards',
  async (t) => {
    const rig = new Rig(t, { stopTimeoutMs: 20, cancels: false })
    const guest = await Guest.connect(rig)
    const { frontend } = guest
    const gpa = frontend.addRegion(MIB)
    guest.begin(Reply.AFTER_A_TIMER, gpa)
    guest.begin(Reply.PROMISE_WHEN_RELEASED, gpa + 16)
    frontend.removeRegion(gpa)
    const first = guest.queue.reap(0)
    t.ok(first === undefined || first.writtenBytes === 1, 'finished or given up by then')
    t.equal(guest.queue.reap(100), undefined)
    t.equal(guest.call(Reply.RELEASE), ANSWERED, 'the queue goes on')
    t.ok(rig.count(Count.LATE_WRITES) >= 1)
    frontend.close()
    t.equal(await rig.closed, 'closed')
  },
)

t.test('all memory is replaced under requests in flight', async (t) => {
  const rig = new Rig(t)
  const guest = await Guest.connect(rig)
  guest.begin(Reply.AFTER_A_TIMER)
  guest.frontend.sendMemoryTable()
  t.equal(guest.next(0)?.reply, ANSWERED, 'first it was finished')
  t.equal(guest.call(Reply.AS_PROMISE), ANSWERED)
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
})

t.test('a front-end that leaves gives up its requests, and the next is served', async (t) => {
  const rig = new Rig(t, { once: false, cancels: false })
  const guest = await Guest.connect(rig)
  guest.begin(Reply.WHEN_ABORTED)
  guest.begin(Reply.WHEN_RELEASED)
  guest.frontend.close()
  const next = await Guest.connect(rig)
  t.equal(next.call(Reply.RELEASE), ANSWERED)
  t.equal(rig.count(Count.ABORTED), 1)
  t.equal(rig.count(Count.LATE_COMPLETIONS), 1)
  rig.worker.postMessage('close')
  t.equal(await rig.closed, 'closed')
  next.frontend.close()
  t.equal(await rig.exited, 0)
})

t.test('a front-end that leaves while its message waits is noticed', async (t) => {
  const rig = new Rig(t, { stopTimeoutMs: Number.POSITIVE_INFINITY, cancels: false })
  const guest = await Guest.connect(rig)
  guest.begin(Reply.WHEN_ABORTED)
  VringState.write(guest.frontend.connection.body, 0, 0)
  guest.frontend.send(FrontendRequest.GET_VRING_BASE, VringState.BYTES, false)
  guest.frontend.close()
  t.equal(await rig.closed, 'closed')
  t.equal(rig.count(Count.ABORTED), 1)
})

for (const [kind, says] of [
  [Reply.THROW, 'thrown on purpose'],
  [Reply.REJECT, 'rejected on purpose'],
  [Reply.RESOLVE_TO_NONSENSE, 'promises: process resolved to 2, not 0 to 1'],
] as const) {
  t.test(`a bug of the device ends the server: ${says}`, async (t) => {
    const rig = new Rig(t)
    const guest = await Guest.connect(rig)
    guest.ask(kind)
    t.equal(await rig.closed, says)
    t.equal(await rig.exited, 0)
    guest.frontend.close()
  })
}
