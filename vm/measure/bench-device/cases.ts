import type { SharePlace } from './bench-share.js'
import type { Job } from './load-generator.js'

/** The least that a ratio of ours to a peer's may be. */
export interface Targets {
  /** Against the Rust virtiofsd, with our default polling. */
  readonly rust?: number
  /** Against the same, without polling. */
  readonly rustUnpolled?: number
  /** Against the C virtiofsd. */
  readonly c?: number
  /** The most that device CPU per operation may be of the Rust virtiofsd's. */
  readonly cpu?: number
}

/** What is measured: a job, on a share in memory or on disk. */
export interface Case {
  readonly name: string
  readonly place: SharePlace
  readonly job: Job
  readonly targets: Targets
  /** Part of a quick run. */
  readonly quick: boolean
}

const KIB = 1024
const MIB = 1024 * KIB

function make(name: string, job: Job, targets: Targets, { disk = false, quick = false } = {}): Case {
  return { name, job, targets, place: disk ? 'disk' : 'memory', quick }
}

const QUICK = { quick: true }
const DISK = { disk: true }

/** At depth 32 and at depth 1 everything has a target. */
function depths(
  name: string,
  workload: string,
  bytes: number,
  at1: number,
  at32: number,
  unpolled32?: number,
) {
  const job = { workload, bytes }
  const cases = [
    make(`${name}, 1 deep`, { ...job, depth: 1 }, { rust: at1, rustUnpolled: 0.95, c: 1 }, QUICK),
    make(`${name}, 8 deep`, { ...job, depth: 8 }, { rust: 1, c: 1 }),
  ]
  const deep = { rust: at32, c: 1.2, cpu: 0.5, ...(unpolled32 !== undefined && { rustUnpolled: unpolled32 }) }
  return [...cases, make(`${name}, 32 deep`, { ...job, depth: 32 }, deep, QUICK)]
}

/** Sequential transfers: a target for all depths. */
function sequential(name: string, workload: string, bytes: number, rust: number): Case[] {
  return [1, 8, 32].map((depth) => {
    const c = depth === 32 ? 1.2 : 1
    return make(`${name}, ${depth} deep`, { workload, bytes, depth }, { rust, c }, { quick: depth === 8 })
  })
}

/** Everything that `make bench-device` measures, in the order of its table. */
export const CASES: readonly Case[] = [
  ...depths('getattr', 'getattr', 0, 1.8, 3, 1.5),
  ...depths('lookup + forget', 'lookup+forget', 0, 1.5, 2),
  ...depths('lookup again', 'lookup-again', 0, 1.5, 2),
  ...depths('open + release', 'open+release', 0, 1.2, 1.5),
  ...depths('create + unlink', 'create+unlink', 0, 1.2, 1.5),
  ...depths('read 4 KiB random', 'read-random', 4 * KIB, 1.8, 3, 1.5),
  ...depths('write 4 KiB random', 'write-random', 4 * KIB, 1.8, 2.5, 1.5),
  ...sequential('read 128 KiB', 'read', 128 * KIB, 1.2),
  ...sequential('write 128 KiB', 'write', 128 * KIB, 1.2),
  ...sequential('read 1 MiB', 'read', MIB, 1.5),
  ...sequential('write 1 MiB', 'write', MIB, 1.25),
  make('readdirplus of 10,000', { workload: 'readdirplus', depth: 1 }, { rust: 1.5, c: 1 }, QUICK),
  make('readdirplus again', { workload: 'readdirplus-again', depth: 1 }, { rust: 1.5, c: 1 }),
  make(
    'getattr, 8 deep, beside 1 MiB write + fsync',
    { workload: 'getattr', depth: 8, beside: { workload: 'write+fsync', bytes: MIB } },
    { rust: 1, c: 1 },
    DISK,
  ),
  make('write 4 KiB + fsync', { workload: 'write+fsync', bytes: 4 * KIB, depth: 1 }, { rust: 1, c: 1 }, DISK),
  make(
    'read 4 KiB cold, 32 deep',
    { workload: 'read-cold', bytes: 4 * KIB, depth: 32 },
    { rust: 1, c: 1 },
    DISK,
  ),
  ...['read', 'write'].map((kind) =>
    make(
      `${kind} 4 KiB O_DIRECT, 32 deep, a getattr beside`,
      { workload: `${kind}-direct`, bytes: 4 * KIB, depth: 32, beside: { workload: 'getattr' } },
      { rust: 1, c: 1 },
      DISK,
    ),
  ),
]
