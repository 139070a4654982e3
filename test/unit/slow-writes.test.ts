import t from 'tap'
import { SlowWrites } from '../../src/passthrough/files/slow-writes.js'

const MIB = 1024 * 1024

/** A host whose writes take as long as it is told, and keep the thread waiting or from its processor. */
class Host {
  nowMs = 1000
  waits = 0
  readonly slowWrites = new SlowWrites(
    () => this.nowMs,
    () => this.waits,
  )

  /** A batch of writes; returns true if the next ones are to leave the loop. */
  batch(elapsedMs: number, waits: number, ...lengths: number[]): boolean {
    for (const lenBytes of lengths) this.slowWrites.count(lenBytes)
    this.nowMs += elapsedMs
    this.waits += waits
    this.slowWrites.endBatch()
    return this.slowWrites.away
  }

  pass(ms: number): boolean {
    this.nowMs += ms
    this.slowWrites.endBatch()
    return this.slowWrites.away
  }
}

t.test("buffered writes go to the background while the host's disk is slow", async (t) => {
  const host = new Host()
  t.equal(host.batch(4, 1, 4096), false, 'a write of a moment')
  t.equal(host.batch(20, 1, 4096), false, 'a write that took 20 ms: who was it?')
  t.equal(host.batch(20, 1, 4096), true, 'the next one, for which the thread waited')
  t.equal(host.pass(40), true, '40 ms later')
  host.slowWrites.took(30, 4096, host.nowMs)
  t.equal(host.pass(40), true, 'after an asynchronous one that was slow, too')
  host.slowWrites.took(15, 4096, host.nowMs)
  t.equal(host.pass(20), false, 'when none was slow for long: its thread may wait for a processor')
  t.equal(host.batch(20, 1, 4096), true, 'the first one after that is still watched')
})

t.test('writes stay while others have the processor', async (t) => {
  const host = new Host()
  for (let n = 0; n < 100; n++) t.equal(host.batch(20, 0, 4096), false)
  t.equal(host.batch(4, 1, 4096), false, 'nor does it count that the thread waits in a batch that is quick')
  t.equal(host.batch(20, 1, 4096), true)
})

t.test('a slow write long ago says nothing about the next one', async (t) => {
  const host = new Host()
  host.batch(20, 1, 4096)
  host.pass(2000)
  t.equal(host.batch(20, 1, 4096), false)
  t.equal(host.batch(20, 1, 4096), true)
})

t.test('large writes may take as long as copying takes', async (t) => {
  const host = new Host()
  host.batch(20, 1, 4096)
  t.equal(host.batch(30, 1, ...Array<number>(32).fill(MIB)), false, '32 MiB in 30 ms')
  t.equal(host.batch(30, 1, MIB), true, '1 MiB in 30 ms: the batch before does not count')

  host.pass(100)
  host.slowWrites.took(50, 32 * MIB, host.nowMs)
  t.equal(host.pass(0), false, '50 ms for one of 32 MiB that were written meanwhile')
})
