import { type Estimate, estimate, ratios, type Verdict, verdict } from '../statistics.js'
import type { BenchGuest } from './bench-guest.js'
import type { Case } from './plan.js'
import { type DeviceLatency, observeDevice, processorTimeUs, type Side } from './side.js'
import type { Result, Sample } from './workload.js'

/** One side's figures for one result. */
export interface SideFigures {
  rates: number[]
  rate: Estimate
  /** Time of one request in the guest, in microseconds. */
  guestUs: Estimate
  /** Processor time of the device per operation of the guest, over all results of a workload. */
  cpuUsPerOp: number
}

/** One line of the report. */
export interface Measurement {
  policy: string
  workload: string
  unit: Result['unit']
  ours: SideFigures
  peer?: SideFigures
  ratio?: Estimate
  verdict?: Verdict
  /** Latencies of our device, in a run of its own, for this result's opcodes. */
  deviceLatency: DeviceLatency[]
}

/** Returns the order of the sides. It is reversed in every round, so that neither always comes second. */
export function alternate(sides: readonly Side[], rounds: number): Side[] {
  return Array.from({ length: rounds }, (_, n) => (n % 2 === 0 ? sides : [...sides].reverse())).flat()
}

/**
 * Measures a workload on both sides: a round that does not count, then `rounds` that do, then one under observation.
 */
export async function measure(
  setting: BenchGuest,
  { policy, workload }: Case,
  rounds: number,
  runtimeMs: number,
): Promise<Measurement[]> {
  const { guest } = setting
  const sides = setting.sidesOf(policy)
  for (const side of sides) await workload.prepare(guest, side)
  const order = alternate(sides, rounds + 1)
  const cpuBefore = sides.map(processorTimeUs)
  const samples = await workload.run(guest, order, runtimeMs)
  const cpuUs = sides.map((side, n) => processorTimeUs(side) - cpuBefore[n]!)
  const latencies = await observeDevice(sides[0]!, () => workload.run(guest, [sides[0]!], runtimeMs))
  const figures = sides.map((side, n) => {
    const runs = samples.filter((_, run) => order[run] === side)
    return figuresOf(runs, cpuUs[n]!)
  })
  return workload.results.map((result, n) => {
    const [ours, peer] = figures.map((ofSide) => ofSide[n]!)
    return {
      policy: policy.name,
      workload: result.name,
      unit: result.unit,
      ours: ours!,
      ...(peer === undefined ? {} : compare(ours!, peer)),
      deviceLatency: latencies.filter(({ opcode }) => result.opcodes.includes(opcode)),
    }
  })
}

function compare(ours: SideFigures, peer: SideFigures): Pick<Measurement, 'peer' | 'ratio' | 'verdict'> {
  const ratio = estimate(ratios(ours.rates, peer.rates))
  return { peer, ratio, verdict: verdict(ratio, ours.rates.length) }
}

/** Returns the figures of each result. Of the first run, the warm-up, only the processor time counts. */
function figuresOf(runs: readonly Sample[][], cpuUs: number): SideFigures[] {
  const operations = runs.flat().reduce((sum, sample) => sum + sample.operations, 0)
  return runs[0]!.map((_, n) => {
    const counted = runs.slice(1).map((run) => run[n]!)
    const rates = counted.map(({ rate }) => rate)
    return {
      rates,
      rate: estimate(rates),
      guestUs: estimate(counted.map(({ guestUs }) => guestUs)),
      cpuUsPerOp: cpuUs / operations,
    }
  })
}
