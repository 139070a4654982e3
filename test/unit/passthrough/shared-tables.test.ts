/** Model test of the tables that threads share: several real threads on real files, against counts of their own. */
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { makeTableMemory } from '../../../src/passthrough/shared/table-memory.js'
import type { ModelResult, ModelStart } from '../../support/shared-tables/thread.js'

const THREAD = fileURLToPath(new URL('../../support/shared-tables/thread.js', import.meta.url))
const AUDITS = 10
const STEPS = 600

interface Scenario {
  readonly threads: number
  readonly files: number
  readonly fdLimit: number
  readonly isHostile?: boolean
}

async function runThreads(directory: string, scenario: Scenario): Promise<ModelResult[]> {
  const { threads, files, fdLimit, isHostile = false } = scenario
  for (let n = 0; n < files; n++) writeFileSync(join(directory, `f${n}`), '')
  const common = {
    memory: makeTableMemory(threads),
    threads,
    directory,
    files,
    fdLimit,
    audits: AUDITS,
    steps: STEPS,
    isHostile,
    counts: new SharedArrayBuffer(8 * threads * files),
    handles: new SharedArrayBuffer(8 * files),
    rumours: new SharedArrayBuffer(8 * files),
    gate: new SharedArrayBuffer(8),
  }
  const workers = Array.from({ length: threads }, (_, thread) => {
    const start: ModelStart = { ...common, thread, seed: 1 + 7919 * thread }
    return new Worker(THREAD, { workerData: start })
  })
  // A thread that fails rejects this; the others would wait for it.
  const results = await Promise.all(workers.map((worker) => once(worker, 'message')))
  await Promise.all(workers.map((worker) => worker.terminate()))
  return results.map(([result]) => result as ModelResult)
}

const sum = (results: readonly ModelResult[], of: (result: ModelResult) => number) =>
  results.reduce((total, result) => total + of(result), 0)

for (const [name, scenario] of [
  ['few files', { threads: 2, files: 1, fdLimit: 1000 }],
  ['some files', { threads: 4, files: 5, fdLimit: 1000 }],
  ['more files than descriptors', { threads: 3, files: 60, fdLimit: 40 }],
  ['many files', { threads: 4, files: 400, fdLimit: 300 }],
] as const) {
  t.test(`${scenario.threads} threads look up, forget, open and use ${name}`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'shared-tables-'))
    t.teardown(() => rmSync(directory, { recursive: true }))
    const before = readdirSync('/proc/self/fd').length
    const results = await runThreads(directory, scenario)
    for (const { faults } of results) t.strictSame(faults, [])
    t.ok(sum(results, (each) => each.lookups) > AUDITS * STEPS, 'lookups took place')
    t.ok(sum(results, (each) => each.met) > 100, 'threads met open files of each other')
    if (scenario.fdLimit < scenario.files && process.getuid?.() === 0)
      t.ok(sum(results, (each) => each.reopened) > 100, 'descriptors were closed and opened again')
    t.equal(
      readdirSync('/proc/self/fd').length,
      before + 2 * scenario.threads,
      'each thread has its root and proc',
    )
  })
}

t.test('a guest that forgets and releases what other threads use reaches no other descriptor', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'shared-tables-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const results = await runThreads(directory, { threads: 4, files: 6, fdLimit: 60, isHostile: true })
  for (const { faults } of results) t.strictSame(faults, [])
  t.ok(sum(results, (each) => each.met) > 100)
})
