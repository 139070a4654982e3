/** A thread of the model test: random batches, and a stop now and then at which the table is compared with all threads. */
import { parentPort, workerData } from 'node:worker_threads'
import { SharedInodes } from '../../../vm/measure/bench-queues/shared/shared-inodes.js'
import { auditTable, ModelGuest, Random } from './model-guest.js'
import { ModelHost } from './model-host.js'

export interface ModelStart {
  readonly table: SharedArrayBuffer
  readonly host: SharedArrayBuffer
  readonly rumours: SharedArrayBuffer
  /** A double for each thread and file. */
  readonly counts: SharedArrayBuffer
  readonly gate: SharedArrayBuffer
  readonly thread: number
  readonly threads: number
  readonly capacity: number
  readonly files: number
  readonly audits: number
  readonly steps: number
  readonly seed: number
  /** Threads also forget what others have looked up. */
  readonly isHostile: boolean
}

export interface ModelResult {
  readonly faults: string[]
  readonly made: number[]
  readonly open: number
}

const start = workerData as ModelStart
const { thread, threads, capacity, files, audits, steps, seed, isHostile } = start
const host = new ModelHost(start.host)
const table = new SharedInodes(start.table, capacity, thread, threads, host)
const random = new Random(seed)
const guest = new ModelGuest(table, host, files, random, start.rumours, isHostile)
const counts = new Float64Array(start.counts)
const gate = new Int32Array(start.gate)
const faults: string[] = []

/** Returns when every thread has called it. */
function meet(): void {
  const round = Atomics.load(gate, 1)
  if (Atomics.add(gate, 0, 1) === threads - 1) {
    Atomics.store(gate, 0, 0)
    Atomics.add(gate, 1, 1)
    Atomics.notify(gate, 1)
  }
  while (Atomics.load(gate, 1) === round) Atomics.wait(gate, 1, round)
}

function audit(): void {
  for (let file = 1; file <= files; file++) counts[thread * (files + 1) + file] = guest.countOf(file)
  meet()
  if (thread === 0) {
    const countOf = (file: number): number => {
      let sum = 0
      for (let n = 0; n < threads; n++) sum += counts[n * (files + 1) + file]
      return sum
    }
    faults.push(...auditTable(table, capacity, files, isHostile ? undefined : countOf))
  }
  meet()
}

meet()
for (let n = 0; n < audits; n++) {
  for (let left = steps; left > 0; ) {
    const batch = 1 + random.below(32)
    table.enter()
    for (let step = 0; step < batch; step++) guest.step()
    table.leave()
    left -= batch
  }
  audit()
}
table.enter()
guest.forgetAll()
table.leave()
audit()
// Nobody is inside any more.
table.leave()
meet()
if (table.waiting > 0) faults.push(`${table.waiting} values were not freed`)
const result: ModelResult = {
  faults: [...new Set([...faults, ...guest.faults, ...host.faults])].slice(0, 20),
  made: guest.made,
  open: host.openCount,
}
parentPort?.postMessage(result)
