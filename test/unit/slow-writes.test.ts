import t from 'tap'
import { SlowWrites } from '../../src/passthrough/files/slow-writes.js'

const MIB = 1024 * 1024

t.test('buffered writes leave the loop while the host holds them up', async (t) => {
  let nowMs = 1000
  const slowWrites = new SlowWrites(() => nowMs)
  const batch = (elapsedMs: number, ...lengths: number[]) => {
    for (const lenBytes of lengths) slowWrites.count(lenBytes)
    nowMs += elapsedMs
    slowWrites.endBatch()
    return slowWrites.away
  }

  t.equal(batch(4, 4096), false, 'a write of a moment')
  t.equal(batch(20, 4096), true, 'a write that took 20 ms')
  nowMs += 150
  slowWrites.endBatch()
  t.equal(slowWrites.away, true, '150 ms later')
  slowWrites.took(20, 4096, nowMs)
  nowMs += 150
  slowWrites.endBatch()
  t.equal(slowWrites.away, true, 'after an asynchronous one that was slow, too')
  nowMs += 60
  slowWrites.endBatch()
  t.equal(slowWrites.away, false, 'when none was slow for long')
})

t.test('large writes may take as long as copying takes', async (t) => {
  let nowMs = 1000
  const slowWrites = new SlowWrites(() => nowMs)
  for (let n = 0; n < 32; n++) slowWrites.count(MIB)
  nowMs += 30
  slowWrites.endBatch()
  t.equal(slowWrites.away, false, '32 MiB in 30 ms')

  slowWrites.count(MIB)
  nowMs += 30
  slowWrites.endBatch()
  t.equal(slowWrites.away, true, '1 MiB in 30 ms: the batch before does not count')

  nowMs += 300
  slowWrites.endBatch()
  slowWrites.took(30, 32 * MIB, nowMs)
  slowWrites.endBatch()
  t.equal(slowWrites.away, false, '30 ms for one of 32 MiB that were written meanwhile')
})
