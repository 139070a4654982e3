/** One of the threads that serve requests on the tables of one share: see targets/threads.ts. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { Counters, type InitAgreement } from 'virtio-fs-ts/protocol'
import { OpenRules } from '../../src/io-mode/open-rules.js'
import { openPath } from '../../src/passthrough/descriptors.js'
import { prepareOwnThread } from '../../src/passthrough/own-thread.js'
import type { TableMemory } from '../../src/passthrough/shared/table-memory.js'
import { makeFsDevice, type ShareDevice } from '../../src/share/make-fs-device.js'
import { Op } from '../support/fuse/fuse-abi.js'
import { ByteSource } from './byte-source.js'
import { FuseFuzzer, type MadeRequest, Rumours } from './fuse-fuzzer.js'
import { recordsOf } from './input.js'
import { RingGuest } from './ring-guest.js'
import { configOf, FD_LIMIT } from './targets/requests.js'

/** What the threads of one share have together. */
export interface SharedShare {
  readonly memory: TableMemory
  readonly rumours: SharedArrayBuffer
  /** Words at the places below. */
  readonly control: Int32Array
  readonly root: string
}

export interface RequestThreadStart extends SharedShare {
  readonly thread: number
  readonly port: MessagePort
}

/** The number of the input that the threads are to run; -1: end. */
export const INPUT = 0
/** The threads that are ready, or have run it. */
export const DONE = 1
/** 1 once a thread has failed, and has sent why. */
export const FAILED = 2
/** 1 while several threads run. */
export const TOGETHER = 3
export const CONTROL_WORDS = 4

const COLLECT_MS = 5

/** An input for all threads, and what the guest has agreed on. */
export interface ThreadInput {
  readonly input: Uint8Array
  readonly agreement: InitAgreement
}

/** One thread’s device, and its part of a guest. */
export class RequestThread {
  readonly share: ShareDevice
  private readonly bytes = new ByteSource()
  private readonly guest: RingGuest
  private readonly rumours: Rumours
  private fuzzer: FuseFuzzer

  constructor(
    { memory, rumours, control, root }: SharedShare,
    private readonly thread: number,
  ) {
    this.rumours = new Rumours(rumours)
    this.fuzzer = new FuseFuzzer(this.bytes, this.rumours)
    this.guest = new RingGuest(this.bytes, (reply) => this.fuzzer.learn(reply))
    const procFd = openPath('/proc/self/fd')
    prepareOwnThread(procFd)
    const shared = {
      memory,
      thread,
      isAlone: () => Atomics.load(control, TOGETHER) === 0,
      needsOneThread: () => {},
      checkOthers: () => {},
    }
    const config = configOf(root, [], [])
    const place = { root, procFd, fdLimit: FD_LIMIT, counters: new Counters(), shared }
    const observer = { agreed: () => {}, fault: () => {} }
    this.share = makeFsDevice(config, place, new OpenRules(config, []), observer)
  }

  /** Mounts the share. Returns the number of requests. */
  mount(): number {
    this.rumours.forget()
    this.fuzzer = new FuseFuzzer(this.bytes, this.rumours)
    // What is right, whatever the last input was.
    this.bytes.begin(new Uint8Array(0))
    this.guest.submit(this.fuzzer.init())
    this.serve()
    return 1
  }

  /** Runs an input, each thread from another record on. Returns the number of requests. */
  run(input: Uint8Array): number {
    const { guest, bytes, thread } = this
    this.fuzzer = new FuseFuzzer(bytes, this.rumours)
    const records = [...recordsOf(input)]
    const first = Math.floor((thread * records.length) / 4)
    for (const record of [...records.slice(first), ...records.slice(0, first)]) {
      bytes.begin(record)
      guest.submit(this.next())
      if (guest.isFull || !bytes.oneIn(4)) this.serve()
    }
    this.serve()
    return records.length
  }

  /** Between two batches. */
  rest(): void {
    this.share.device.leave?.()
  }

  close(): void {
    this.guest.close()
    this.share.close()
  }

  /** The owner of the queues serves what begins and ends a session, while the others stand still. */
  private next(): MadeRequest {
    for (;;) {
      const request = this.fuzzer.next()
      if (request.opcode !== Op.INIT && request.opcode !== Op.DESTROY) return request
      // The rest of the record decides on the next one, and zeros in the end.
    }
  }

  private serve(): void {
    const { device } = this.share
    device.enter?.()
    this.guest.serve(device)
    device.leave?.()
  }
}

/** Runs what the first thread sends, until it ends. */
function serveOthers({ thread, port, control, ...share }: RequestThreadStart): void {
  const tell = (place: number) => {
    Atomics.add(control, place, 1)
    Atomics.notify(control, place)
  }
  try {
    const own = new RequestThread({ ...share, control }, thread)
    tell(DONE)
    for (let seen = 0; ; ) {
      // A thread that sleeps looks again whether it can close what it has given up.
      if (Atomics.wait(control, INPUT, seen, COLLECT_MS) === 'timed-out') own.rest()
      const now = Atomics.load(control, INPUT)
      if (now < 0) break
      if (now === seen) continue
      seen = now
      // The first thread has sent one for each number.
      const given = receiveMessageOnPort(port) as { message: ThreadInput }
      const { input, agreement } = given.message
      own.share.session.resume(agreement)
      own.run(input)
      own.share.session.end()
      tell(DONE)
    }
    own.close()
  } catch (error) {
    port.postMessage(error)
    tell(FAILED)
    tell(DONE)
  }
}

const data = workerData as RequestThreadStart | null
if (data?.thread !== undefined) serveOthers(data)
