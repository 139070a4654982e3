/** A thread that changes words of guest memory until it is stopped, like the other processor of a hostile guest. */
import { workerData } from 'node:worker_threads'
import { GuestMemory } from 'vhost-user-ts'

/** The data that a flipper starts with. */
export interface FlipperStart {
  /** The guest's memory, from guest address 0 on. */
  readonly memoryFd: number
  readonly sizeBytes: number
  /** Guest addresses of 32-bit words, each with the two values it alternates between. */
  readonly words: readonly (readonly [gpa: number, one: number, other: number])[]
  /** Word 0: 1 when it runs. Word 1: 1 to end it. */
  readonly control: Int32Array
}

const { memoryFd, sizeBytes, words, control } = workerData as FlipperStart
const memory = new GuestMemory()
memory.add(memoryFd, 0, sizeBytes, 0, 0)
const views = words.map(([gpa]) => {
  const buffer = memory.openRing(gpa, 4)
  if (buffer === undefined) throw new Error(`${gpa} is not guest memory`)
  return new Int32Array(buffer)
})
Atomics.store(control, 0, 1)
Atomics.notify(control, 0)
for (let turn = 0; Atomics.load(control, 1) === 0; turn++) {
  // Each word changes at its own pace, so that every combination occurs.
  for (let n = 0; n < words.length; n++) Atomics.store(views[n], 0, words[n][1 + ((turn >> n) & 1)])
}
memory.destroy()
