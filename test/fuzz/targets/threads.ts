import { strict as assert } from 'node:assert'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { makeTableMemory } from '../../../src/passthrough/shared/table-memory.js'
import { countOpenFds } from '../../support/device/descriptors.js'
import { Rumours } from '../fuse-fuzzer.js'
import {
  CONTROL_WORDS,
  DONE,
  FAILED,
  INPUT,
  RequestThread,
  type RequestThreadStart,
  type SharedShare,
  type ThreadInput,
  TOGETHER,
} from '../request-thread.js'
import { ScratchShare } from '../scratch-share.js'
import type { Target } from '../target.js'

const INPUTS_PER_CHECK = 64
/** Only a hang takes so long. */
const HANG_MS = 30_000
const REST_MS = 2000

/**
 * The same as requests, on the tables of a share that several threads serve. All threads run an input at the same time, each from
 * another record on, and hear of each other’s node ids and handles. The scheduler decides what meets.
 */
export class ThreadsTarget implements Target {
  readonly name = 'threads'
  private readonly shared: SharedShare
  private readonly scratch: ScratchShare
  private readonly first: RequestThread
  private readonly ports: MessagePort[] = []
  private readonly heldFds: number
  private inputs = 0

  /** `directory` is empty, and becomes the scratch directory. */
  constructor(
    directory: string,
    private readonly threads: number,
  ) {
    this.scratch = new ScratchShare(directory)
    this.shared = {
      memory: makeTableMemory(threads),
      rumours: new SharedArrayBuffer(Rumours.BYTES),
      control: new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS)),
      root: this.scratch.root,
    }
    // Before this thread has a directory without a name.
    for (let thread = 1; thread < threads; thread++) this.startThread(thread)
    this.awaitOthers()
    this.first = new RequestThread(this.shared, 0)
    this.heldFds = countOpenFds()
  }

  run(input: Uint8Array): number {
    const { first, scratch } = this
    scratch.fill()
    const mounted = first.mount()
    const { agreed: agreement } = first.share.session
    assert.ok(agreement !== undefined, 'the share is mounted')
    this.startOthers({ input, agreement })
    const requests = first.run(input)
    this.awaitOthers()
    first.share.device.reset()
    first.rest()
    scratch.check()
    if (++this.inputs % INPUTS_PER_CHECK === 0)
      assert.equal(this.countFdsAtRest(), this.heldFds, 'descriptors that are left')
    return mounted + this.threads * requests
  }

  close(): void {
    Atomics.store(this.shared.control, INPUT, -1)
    Atomics.notify(this.shared.control, INPUT)
    this.first.close()
    for (const port of this.ports) port.close()
  }

  /** The other threads close what they have given up a moment later. */
  private countFdsAtRest(): number {
    const endMs = performance.now() + REST_MS
    for (;;) {
      const count = countOpenFds()
      if (count === this.heldFds || performance.now() > endMs) return count
      this.first.rest()
    }
  }

  private startThread(thread: number): void {
    const { port1, port2 } = new MessageChannel()
    this.ports.push(port1)
    const workerData: RequestThreadStart = { ...this.shared, thread, port: port2 }
    new Worker(new URL('../request-thread.js', import.meta.url), { workerData, transferList: [port2] })
  }

  private startOthers(given: ThreadInput): void {
    const { control } = this.shared
    for (const port of this.ports) port.postMessage(given)
    Atomics.store(control, TOGETHER, 1)
    Atomics.store(control, DONE, 0)
    Atomics.add(control, INPUT, 1)
    Atomics.notify(control, INPUT)
  }

  private awaitOthers(): void {
    const { control } = this.shared
    for (let done = Atomics.load(control, DONE); done < this.threads - 1; done = Atomics.load(control, DONE))
      assert.notEqual(Atomics.wait(control, DONE, done, HANG_MS), 'timed-out', 'a thread hangs')
    Atomics.store(control, TOGETHER, 0)
    if (Atomics.load(control, FAILED) === 0) return
    for (const port of this.ports) {
      const failure = receiveMessageOnPort(port)?.message as Error | undefined
      if (failure !== undefined) throw failure
    }
    throw new Error('a thread has failed')
  }
}
