import type { Guest } from '../../guest/guest.js'
import type { Side } from './side.js'

/** What one run of a workload gave for one of its results. */
export interface Sample {
  /** In the result's unit, a second: more is better. */
  rate: number
  /** Requests of the guest's programs that were measured. */
  operations: number
  /** What one of them took in the guest, in microseconds: the median where it is known, else the mean. */
  guestUs: number
}

/** One number that a workload measures. */
export interface Result {
  name: string
  unit: 'ops/s' | 'MB/s'
  /** The FUSE opcodes whose latency in the device answers for it. */
  opcodes: readonly string[]
}

/** Something that a guest does on a share and that can be timed. */
export interface Workload {
  /** Chooses it on the command line. */
  name: string
  results: readonly Result[]
  /** Puts on a share what the work needs. */
  prepare(guest: Guest, side: Side): Promise<void>
  /** Does the work once on each of these, one after the other; returns for each the samples of `results`, in their order. */
  run(guest: Guest, order: readonly Side[], runtimeMs: number): Promise<Sample[][]>
}
