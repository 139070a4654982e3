import t from 'tap'
import { CASES } from '../../vm/measure/bench-device/cases.js'
import type { RunResult } from '../../vm/measure/bench-device/load-generator.js'
import { formatOwn } from '../../vm/measure/bench-device/own-file-systems.js'
import { formatCase } from '../../vm/measure/bench-device/report.js'
import { formatRuns, joinRuns } from '../../vm/measure/bench-device/runs.js'

const [known] = CASES.filter(({ name }) => name === 'getattr, 1 deep')

function run(deviceCpuUs: number, deviceUserTicks: number, deviceKernelTicks: number): RunResult {
  const tally = { opsPerSec: 1, mbPerSec: 0, entriesPerSec: 0, p50Us: 1, p99Us: 1 }
  return { ...tally, deviceCpuUs, deviceUserTicks, deviceKernelTicks } as RunResult
}

/** The columns from CPU us on. */
function split(runs: RunResult[]): string[] {
  const result = { name: known!.name, runs: { 'virtiofsd-ts': runs } }
  const [row] = formatCase(known!, result as never, ['virtiofsd-ts'])
  return row!.slice(6)
}

t.test('processor time is divided by the samples of all runs together', async (t) => {
  t.same(split([run(8, 1, 0), run(10, 0, 2), run(12, 0, 1)]), ['10.00', '2.50', '7.50'])
  t.same(split([run(3, 5, 0)]), ['3.00', '3.00', '0.00'])
})

t.test('without samples there is no division of processor time', async (t) => {
  t.same(split([run(3, 0, 0)]), ['3.00', '', ''])
})

t.test('kinds of own file systems are compared with the first, round by round', async (t) => {
  const rounds = (...rates: number[]) =>
    rates.map(
      (opsPerSec) => ({ opsPerSec, p50Us: 1000 / opsPerSec, deviceCpuUs: 1, othersCpu: 0 }) as RunResult,
    )
  const runs = { passthrough: rounds(100, 200, 400), 'raw floor': rounds(200, 300, 800) }
  const text = formatOwn([
    { name: 'a', by: 'rate', runs },
    { name: 'b', by: 'p50', runs },
  ])
  t.match(text, /a +passthrough +200 +5\.0 +1\.00 *\n +raw floor +300 +3\.3 +1\.00 +x 2\.00 ±/)
  t.match(text, /b +passthrough .*\n +raw floor .* p50 x 0\.50 ±/)
})

t.test('several runs are told apart: the median run, the lowest and the highest', async (t) => {
  const rounds = (...rates: number[]) =>
    rates.map((opsPerSec) => ({ opsPerSec, entriesPerSec: 0, deviceCpuUs: 1000 / opsPerSec }) as RunResult)
  const peer = rounds(100, 100)
  const oneRun = (...rates: number[]) => [
    { name: 'a', runs: { 'virtiofsd-ts': rounds(...rates), 'virtiofsd-c': peer } },
  ]
  const cases = joinRuns([oneRun(100, 140), oneRun(80, 80), oneRun(200, 300)])
  t.equal(cases[0]?.runs['virtiofsd-ts']?.length, 6)
  const devices = ['virtiofsd-ts', 'virtiofsd-c']
  const text = formatRuns({ cases, devices, setup: { runs: 3, rounds: 2 } } as never)
  t.match(text, /a +120 +8\.57 +1\.20 \(0\.80\.\.2\.50\) +10\.00 +0\.86 \(0\.42\.\.1\.25\)/)
})
