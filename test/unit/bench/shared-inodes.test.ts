/** Model test of the inode table that threads share: against counts that do not depend on the order of the threads. */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { SharedInodes } from '../../../vm/measure/bench-queues/shared/shared-inodes.js'
import { auditTable, ModelGuest, Random } from '../../support/shared-inodes/model-guest.js'
import { ModelHost } from '../../support/shared-inodes/model-host.js'
import type { ModelResult, ModelStart } from '../../support/shared-inodes/thread.js'

const CAPACITY = 4096
const DESCRIPTORS = 4096
const THREAD = fileURLToPath(new URL('../../support/shared-inodes/thread.js', import.meta.url))

/** Runs other work wherever another thread could: before it takes a lock, and after it has given one back. */
class SteppedInodes extends SharedInodes {
  between: () => void = () => {}

  protected override lock(h: number): void {
    this.between()
    super.lock(h)
  }

  protected override unlock(h: number): void {
    super.unlock(h)
    this.between()
  }
}

async function runThreads(threads: number, files: number, isHostile = false): Promise<ModelResult[]> {
  const common = {
    table: new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, threads)),
    host: new SharedArrayBuffer(ModelHost.bytes(DESCRIPTORS)),
    rumours: new SharedArrayBuffer(8 * 16),
    counts: new SharedArrayBuffer(8 * threads * (files + 1)),
    gate: new SharedArrayBuffer(8),
    threads,
    capacity: CAPACITY,
    files,
    audits: 20,
    steps: 3000,
    isHostile,
  }
  const workers = Array.from({ length: threads }, (_, thread) => {
    const start: ModelStart = { ...common, thread, seed: 1 + 7919 * thread }
    return new Worker(THREAD, { workerData: start })
  })
  // A thread that fails rejects this; the others would wait for it.
  const results = await Promise.all(workers.map((worker) => once(worker, 'message')))
  return results.map(([result]) => result as ModelResult)
}

for (const [threads, files] of [
  [2, 1],
  [2, 8],
  [Math.max(3, Math.min(8, availableParallelism())), 4],
  [4, 200],
] as const) {
  t.test(`${threads} threads look up, forget, evict and use ${files} files`, async (t) => {
    const results = await runThreads(threads, files)
    for (const { faults } of results) t.strictSame(faults, [])
    const made = results.flatMap((result) => result.made)
    t.equal(new Set(made).size, made.length, 'no node id was given twice')
    t.ok(made.length > 100, 'inodes were forgotten and came again')
    // Each thread has opened the root; the table holds one of these descriptors.
    t.equal(results[0]?.open, threads)
  })
}

t.test('a guest that forgets what another thread has just looked up harms no descriptor', async (t) => {
  const results = await runThreads(3, 3, true)
  for (const { faults } of results) t.strictSame(faults, [])
  const made = results.flatMap((result) => result.made)
  t.equal(new Set(made).size, made.length, 'no node id was given twice')
})

t.test('one thread’s operations take place between the steps of another’s', async (t) => {
  const files = 3
  const random = new Random(42)
  const tableMemory = new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, 3))
  const host = new ModelHost(new SharedArrayBuffer(ModelHost.bytes(DESCRIPTORS)))
  const rumours = new SharedArrayBuffer(8 * 4)
  const tables = [0, 1, 2].map((thread) => new SteppedInodes(tableMemory, CAPACITY, thread, 3, host))
  const guests = tables.map((table) => new ModelGuest(table, host, files, random, rumours))
  const countOf = (file: number) => guests.reduce((sum, guest) => sum + guest.countOf(file), 0)
  let nested = 0
  for (const [n, table] of tables.entries()) {
    const next = guests[n + 1]
    if (next === undefined) continue
    table.between = () => {
      if (random.below(3) > 0) return
      nested++
      next.table.enter()
      next.step()
      if (random.below(2) === 0) next.table.leave()
    }
  }
  for (let n = 0; n < 20_000; n++) {
    for (const table of tables) if (random.below(2) === 0) table.enter()
    tables[0]?.enter()
    guests[0]?.step()
    for (const table of tables) table.leave()
    if (n % 50 === 0) t.strictSame(auditTable(tables[0]!, CAPACITY, files, countOf), [])
  }
  t.ok(nested > 10_000)
  for (const guest of guests) {
    guest.forgetAll()
    t.strictSame([...guest.faults, ...host.faults].slice(0, 5), [])
  }
  // What waits for a thread that is inside is freed after that thread has left.
  for (const table of [...tables, ...tables]) table.leave()
  t.equal(
    tables.reduce((sum, table) => sum + table.waiting, 0),
    0,
  )
  t.equal(host.openCount, 3)
  t.strictSame(
    auditTable(tables[0]!, CAPACITY, files, () => 0),
    [],
  )
})

t.test(
  'a node id of a forgotten inode stays unknown, and a row is not used while it may be read',
  async (t) => {
    const host = new ModelHost(new SharedArrayBuffer(ModelHost.bytes(8)))
    const memory = new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, 2))
    const [reader, writer] = [0, 1].map((thread) => new SharedInodes(memory, CAPACITY, thread, 2, host)) as [
      SharedInodes,
      SharedInodes,
    ]
    host.fileOf = (slot) => reader.inoLowOf(slot)
    const fd = host.openFile(7)
    const slot = writer.add(1, 7, 0, 8, fd)
    const nodeid = writer.idOf(slot)
    reader.enter()
    t.equal(reader.slotOf(nodeid), slot)
    writer.enter()
    writer.unref(slot, 1)
    writer.leave()
    t.equal(writer.waiting, 2, 'row and descriptor wait for the reader')
    host.use(fd, 7)
    t.equal(reader.slotOf(nodeid), 0)
    t.equal(reader.fdOf(slot), -116, 'ESTALE')
    t.equal(reader.ref(slot), false)
    reader.leave()
    writer.leave()
    t.equal(writer.waiting, 0)
    t.equal(host.openCount, 0)
    t.strictSame(host.faults, [])
    t.equal(writer.slotOf(nodeid), 0)
    const again = writer.add(1, 7, 0, 8, host.openFile(7))
    t.not(writer.idOf(again), nodeid)
  },
)

t.test(
  'a descriptor is closed for another inode’s sake, and opened again; not while a file is open',
  async (t) => {
    const host = new ModelHost(new SharedArrayBuffer(ModelHost.bytes(8)))
    const table = new SharedInodes(
      new SharedArrayBuffer(SharedInodes.bytes(CAPACITY, 1)),
      CAPACITY,
      0,
      1,
      host,
    )
    host.fileOf = (slot) => table.inoLowOf(slot)
    const slot = table.add(1, 7, 0, 8, host.openFile(7))
    table.pin(slot)
    table.evict(slot)
    table.leave()
    t.equal(host.openCount, 1)
    table.unpin(slot)
    table.evict(slot)
    table.leave()
    t.equal(host.openCount, 0)
    host.use(table.fdOf(slot), 7)
    t.equal(host.openCount, 1)
    t.equal(table.typeOf(slot), 8)
    t.strictSame(host.faults, [])
  },
)
