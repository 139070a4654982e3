import t from 'tap'
import type { RunResult } from '../../../vm/measure/bench-device/load-generator.js'
import { bound, together } from '../../../vm/measure/bench-queues/report.js'

function run(ops: number, opsPerSec: number, deviceCpuUs: number, p99Us: number): RunResult {
  return {
    ops,
    opsPerSec,
    deviceCpuUs,
    p99Us,
    guestCpuUs: 1,
    p50Us: 1,
    mbPerSec: 0,
    othersCpu: 0,
  } as RunResult
}

t.test('runs at the same time are added up', async (t) => {
  const sum = together([run(100, 1000, 2, 7), run(300, 3000, 4, 5)])
  t.equal(sum.opsPerSec, 4000)
  t.equal(sum.deviceCpuUs, 3.5, 'weighed by operations')
  t.equal(sum.p99Us, 7)
  t.throws(() => together([]), RangeError)
})

t.test('the most that threads can reach follows from what one operation costs both sides', async (t) => {
  t.equal(bound(4, 1, 2, 2), 1.6, 'two processors are full')
  t.equal(bound(4, 1, 2, 4), 2)
  t.equal(bound(4, 1, 4, 4), 3.2)
  t.equal(bound(1, 3, 2, 2), 1, 'the guest alone fills both')
})
