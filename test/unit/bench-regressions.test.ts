import t from 'tap'
import type { BenchReport } from '../../vm/measure/bench-device/comparison.js'
import type { RunResult } from '../../vm/measure/bench-device/load-generator.js'
import { findRegressions } from '../../vm/measure/bench-device/regressions.js'
import { median, quantile, spread } from '../../vm/measure/statistics.js'

function run(opsPerSec: number, deviceCpuUs: number): RunResult {
  return { opsPerSec, deviceCpuUs, entriesPerSec: 0 } as RunResult
}

/** One case: our runs, and a peer's that all did 100 a second at 10 us. */
function report(ours: readonly (readonly [number, number])[]): BenchReport {
  const runs = {
    'virtiofsd-ts': ours.map(([ops, cpu]) => run(ops, cpu)),
    'virtiofsd-1.14': ours.map(() => run(100, 10)),
  }
  return {
    version: 1,
    devices: ['virtiofsd-ts', 'virtiofsd-1.14'],
    cases: [{ name: 'getattr', runs }],
  } as unknown as BenchReport
}

t.test('median, quartiles and spread are computed', (t) => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([1, 2, 3, 4]), 2.5)
  t.equal(quantile([0, 10], 0.25), 2.5)
  t.equal(spread([90, 100, 110]), 0.05)
  t.ok(Number.isNaN(median([])))
  t.end()
})

t.test('a loss beyond noise is found, one within it is not', (t) => {
  const before = report([
    [300, 5],
    [300, 5],
    [300, 5],
  ])
  t.strictSame(
    findRegressions(
      before,
      report([
        [290, 5],
        [292, 5],
        [291, 5],
      ]),
    ),
    [],
  )
  t.match(
    findRegressions(
      before,
      report([
        [250, 5],
        [251, 5],
        [252, 5],
      ]),
    ),
    [{ name: 'getattr', measure: 'throughput', before: 3, after: 2.51 }],
  )
  t.strictSame(
    findRegressions(
      before,
      report([
        [150, 5],
        [250, 5],
        [350, 5],
      ]),
    ),
    [],
    'too noisy to say',
  )
  t.end()
})

t.test('an operation that needs more processor time is found', (t) => {
  const before = report([
    [300, 5],
    [300, 5],
    [300, 5],
  ])
  t.match(
    findRegressions(
      before,
      report([
        [300, 6],
        [300, 6],
        [300, 6],
      ]),
    ),
    [{ name: 'getattr', measure: 'device CPU', before: 0.5, after: 0.6 }],
  )
  t.end()
})

t.test('without a common peer the figures themselves are compared', (t) => {
  const alone = (ops: number) =>
    ({
      version: 1,
      devices: ['virtiofsd-ts'],
      cases: [{ name: 'a', runs: { 'virtiofsd-ts': [run(ops, 1)] } }],
    }) as unknown as BenchReport
  t.equal(findRegressions(alone(100), alone(80)).length, 1)
  t.equal(findRegressions(alone(100), alone(98)).length, 0)
  t.end()
})
