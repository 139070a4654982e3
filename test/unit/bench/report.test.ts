/** The table says what was measured, and that there was no peer when there was none. */
import t from 'tap'
import { benchPage } from '../../../vm/measure/bench/html-report.js'
import type { Measurement, SideFigures } from '../../../vm/measure/bench/measure.js'
import { peerArguments } from '../../../vm/measure/bench/peer.js'
import { type BenchResult, benchTable } from '../../../vm/measure/bench/report.js'
import { estimate, ratios, verdict } from '../../../vm/measure/statistics.js'

function figures(...rates: number[]): SideFigures {
  return {
    rates,
    rate: estimate(rates),
    guestUs: estimate(rates.map((rate) => 1e6 / rate)),
    cpuUsPerOp: 12.34,
  }
}

function compared(workload: string, ours: number[], peer: number[]): Measurement {
  const ratio = estimate(ratios(ours, peer))
  return {
    policy: 'never',
    workload,
    unit: 'ops/s',
    ours: figures(...ours),
    peer: figures(...peer),
    ratio,
    verdict: verdict(ratio, ours.length),
    deviceLatency: [
      { opcode: 'READ', count: 5, p50Us: 40, p99Us: 90 },
      { opcode: 'WRITE', count: 0, p50Us: 0, p99Us: 0 },
    ],
  }
}

const result: BenchResult = {
  version: 1,
  startedAt: '2026-01-02T03:04:05.000Z',
  seconds: 61,
  command: 'make bench QUICK=1',
  host: '2 x some processor, TCG: the guest is emulated',
  guest: 'Linux 6.12',
  peer: 'virtiofsd-1.14',
  rounds: 5,
  runtimeMs: 600,
  measurements: [
    compared('better', [200, 220, 210, 210, 210], [100, 100, 105, 100, 100]),
    compared('worse', [100, 100, 105, 100, 100], [200, 220, 210, 210, 210]),
    compared('alike', [100, 100, 105, 100, 100], [101, 99, 105, 100, 100]),
  ],
}

t.test('the table has ratios, intervals and verdicts', async (t) => {
  const lines = benchTable(result).split('\n')
  t.match(
    lines[2],
    /^never +better +ops\/s +210 +±5% +100 +±3% +2\.10 +2\.00\.\.2\.20 +\+ +4762 +40 +12\.3 +12\.3$/,
  )
  t.match(lines[3], / 0\.48 +0\.45\.\.0\.50 +- /)
  t.match(benchTable(result), 'Against virtiofsd-1.14: 1 faster, 1 the same within noise, 1 slower.')
})

t.test('too few rounds give no verdict', async (t) => {
  t.match(benchTable({ ...result, rounds: 3 }), '3 rounds prove nothing: a verdict needs 5.')
  t.notMatch(benchTable(result), 'prove nothing')
})

t.test('a run without a peer says so', async (t) => {
  const alone = result.measurements.map(({ peer, ratio, verdict: _, ...one }) => one)
  const text = benchTable({ ...result, peer: undefined, measurements: alone })
  t.match(text, 'Ours ran alone')
  t.match(benchPage({ ...result, peer: undefined, measurements: alone }), 'none: ours ran alone')
})

t.test('the C virtiofsd gets its own spelling of options', async (t) => {
  const policy = (...peer: string[]) => ({ name: 'x', ours: [], peer })
  const c = { device: 'virtiofsd-c' } as const
  t.same(peerArguments(c, policy('--cache', 'never', '--allow-mmap')), ['-o', 'cache=none'])
  t.same(peerArguments(c, policy('--cache', 'always', '--writeback')), ['-o', 'cache=always,writeback'])
  t.equal(peerArguments(c, policy('--cache', 'auto', '--new')), undefined)
  t.same(peerArguments({ device: 'virtiofsd-1.14' }, policy('--cache', 'auto')), ['--cache', 'auto'])
})
