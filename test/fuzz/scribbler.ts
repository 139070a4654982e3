/** A thread that changes guest memory all the time: descriptors, indices and buffers. */
import { workerData } from 'node:worker_threads'
import { GuestMemory } from 'vhost-user-ts'
import { Random } from '../support/random.js'

export interface ScribblerStart {
  readonly memoryFd: number
  readonly sizeBytes: number
  readonly seed: number
  /** Word 0: 1 while it runs. Word 1: 1 to end it. */
  readonly control: Int32Array
}

/** Most of the changed words lie where a device reads: descriptors, rings and indirect tables. */
const HOT = [
  [0, 64],
  [0x4000, 16],
  [0x6000, 16],
  [0x8000, 16],
  [0x9000, 64],
] as const

const { memoryFd, sizeBytes, seed, control } = workerData as ScribblerStart
const memory = new GuestMemory()
memory.add(memoryFd, 0, sizeBytes, 0, 0)
const buffer = memory.openRing(0, sizeBytes)
if (buffer === undefined) throw new Error('no guest memory')
const words = new Int32Array(buffer)
const random = new Random(seed)
Atomics.store(control, 0, 1)
while (Atomics.load(control, 1) === 0) {
  const [gpa, count] = random.pick(HOT)
  const at = (gpa >> 2) + random.below(count)
  const before = words[at]
  // Changes one bit and changes it back, so that two reads differ.
  Atomics.store(words, at, before ^ (1 << random.below(32)))
  if (random.below(4) > 0) Atomics.store(words, at, before)
}
Atomics.store(control, 0, 0)
memory.destroy()
