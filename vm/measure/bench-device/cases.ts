import type { SharePlace } from './bench-share.js'
import type { Job } from './load-generator.js'

/** A measured job, on a share in memory or on disk. */
export interface Case {
  readonly name: string
  readonly place: SharePlace
  readonly job: Job
  /** Part of a quick run. */
  readonly quick: boolean
}

const KIB = 1024
const MIB = 1024 * KIB

function make(name: string, job: Job, { disk = false, quick = false } = {}): Case {
  return { name, job, place: disk ? 'disk' : 'memory', quick }
}

const QUICK = { quick: true }
const DISK = { disk: true }

const DEPTHS = [1, 8, 32]
/** Small requests tell most at depth 1 and in a full batch; large ones in between. */
const SMALL = [1, 32]
const LARGE = [8]

/** A workload at each depth. `quickDepths`: the depths of a quick run. */
function depths(name: string, workload: string, bytes: number, quickDepths: readonly number[]): Case[] {
  return DEPTHS.map((depth) =>
    make(`${name}, ${depth} deep`, { workload, bytes, depth }, { quick: quickDepths.includes(depth) }),
  )
}

/** Everything that `make bench-device` measures, in the order of its table. */
export const CASES: readonly Case[] = [
  ...depths('getattr', 'getattr', 0, SMALL),
  ...depths('lookup + forget', 'lookup+forget', 0, SMALL),
  ...depths('lookup again', 'lookup-again', 0, SMALL),
  ...depths('open + release', 'open+release', 0, SMALL),
  ...depths('create + unlink', 'create+unlink', 0, SMALL),
  ...depths('read 4 KiB random', 'read-random', 4 * KIB, SMALL),
  ...depths('write 4 KiB random', 'write-random', 4 * KIB, SMALL),
  ...depths('read 128 KiB', 'read', 128 * KIB, LARGE),
  ...depths('write 128 KiB', 'write', 128 * KIB, LARGE),
  ...depths('read 1 MiB', 'read', MIB, LARGE),
  ...depths('write 1 MiB', 'write', MIB, LARGE),
  make('readdirplus of 10,000', { workload: 'readdirplus', depth: 1 }, QUICK),
  make('readdirplus again', { workload: 'readdirplus-again', depth: 1 }),
  make(
    'getattr, 8 deep, beside 1 MiB write + fsync',
    { workload: 'getattr', depth: 8, beside: { workload: 'write+fsync', bytes: MIB } },
    DISK,
  ),
  make('write 4 KiB + fsync', { workload: 'write+fsync', bytes: 4 * KIB, depth: 1 }, DISK),
  make('read 4 KiB cold, 32 deep', { workload: 'read-cold', bytes: 4 * KIB, depth: 32 }, DISK),
  ...['read', 'write'].map((kind) =>
    make(
      `${kind} 4 KiB O_DIRECT, 32 deep, a getattr beside`,
      { workload: `${kind}-direct`, bytes: 4 * KIB, depth: 32, beside: { workload: 'getattr' } },
      DISK,
    ),
  ),
]
