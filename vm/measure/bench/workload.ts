import type { Guest } from '../../guest/guest.js'
import type { Side } from './side.js'

/** The outcome of one run for one of a workload's results. */
export interface Sample {
  /** The rate per second in the result's unit; higher is better. */
  rate: number
  /** The number of measured requests of the guest's programs. */
  operations: number
  /** The time of one request in the guest, in microseconds: the median if known, else the mean. */
  guestUs: number
}

/** One number that a workload measures. */
export interface Result {
  name: string
  unit: 'ops/s' | 'MB/s'
  /** The FUSE opcodes that make up this result in the device. */
  opcodes: readonly string[]
}

/** Something that a guest does on a share and that can be timed. */
export interface Workload {
  /** The workload's name on the command line. */
  name: string
  results: readonly Result[]
  /** Puts the files that the work needs on a share. */
  prepare(guest: Guest, side: Side): Promise<void>
  /** Does the work once on each side in turn; returns for each the samples of `results`, in order. */
  run(guest: Guest, order: readonly Side[], runtimeMs: number): Promise<Sample[][]>
}
