/** The cost of a share's inode table, and of one that threads share, in nanoseconds for one operation without the host's. */
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { ruledTable } from '../../../src/commands/text-table.js'
import { median } from '../statistics.js'
import { SharedInodes } from './shared/shared-inodes.js'
import type { CostResult, CostStart, TableKind } from './table-cost-thread.js'

const CAPACITY = 1 << 17
const THREAD = fileURLToPath(new URL('./table-cost-thread.js', import.meta.url))

/** Has `threads` threads work on a table at the same time. Returns the mean of what they measured. */
async function measureOnce(kind: TableKind, threads: number): Promise<CostResult> {
  const memory = new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, threads))
  const gate = new SharedArrayBuffer(4)
  const workers = Array.from({ length: threads }, (_, thread) => {
    const start: CostStart = { kind, memory, gate, capacity: CAPACITY, thread, threads }
    return new Worker(THREAD, { workerData: start })
  })
  const results = await Promise.all(
    workers.map(async (worker) => (await once(worker, 'message'))[0] as CostResult),
  )
  return Object.fromEntries(
    Object.keys(results[0]!).map((name) => [
      name,
      results.reduce((sum, each) => sum + each[name]!, 0) / threads,
    ]),
  )
}

/** Returns a table of the medians of `rounds`, with least and greatest. */
export async function tableCosts(rounds: number): Promise<string> {
  const sides = [
    ['the device’s, one thread', 'own', 1],
    ['shared, one thread', 'shared', 1],
    ['shared, two threads', 'shared', 2],
  ] as const
  const results = sides.map((): CostResult[] => [])
  for (let round = 0; round < rounds; round++)
    for (const [n, [, kind, threads]] of sides.entries()) results[n]!.push(await measureOnce(kind, threads))
  const names = Object.keys(results[0]![0]!)
  const rows = sides.map(([title], n) => [
    title,
    ...names.map((name) => {
      const all = results[n]!.map((each) => each[name]!)
      return `${median(all).toFixed(0)} (${Math.min(...all).toFixed(0)}..${Math.max(...all).toFixed(0)})`
    }),
  ])
  return ruledTable([{ title: 'ns of processor time' }, ...names.map((title) => ({ title }))], rows)
}
