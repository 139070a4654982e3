import { fioWorkload } from './fio-workload.js'
import { gitStatus, storm, untar } from './metadata-workloads.js'
import type { Workload } from './workload.js'

/** The setup of a share: options of ours, and of the Rust virtiofsd. */
export interface Policy {
  name: string
  ours: readonly string[]
  peer: readonly string[]
}

function both(name: string, ...args: readonly string[]): Policy {
  return { name, ours: args, peer: args }
}

const never = both('never', '--cache', 'never')
const auto = both('auto', '--cache', 'auto')
const always = both('always', '--cache', 'always')
const writeback = both('writeback', '--cache', 'always', '--writeback')
const hostDirect = both('host-direct', '--cache', 'never', '--allow-direct-io')
/** The peer lacks parallel-dio, so it runs with its nearest options. */
const parallel: Policy = {
  name: 'parallel',
  ours: ['--cache', 'never', '--allow-mmap', '--parallel-dio'],
  peer: ['--cache', 'never', '--allow-mmap'],
}

/** A workload under a policy. */
export interface Case {
  policy: Policy
  workload: Workload
  /** Part of `--quick`. */
  quick: boolean
}

const blocks = [4, 128, 1024]
const directJobs = [false, true].flatMap((sequential) =>
  (['read', 'write'] as const).flatMap((kind) =>
    blocks.flatMap((blockKiB) => [
      { rw: sequential ? kind : (`rand${kind}` as const), blockKiB, engine: 'psync' as const, depth: 1 },
      { rw: sequential ? kind : (`rand${kind}` as const), blockKiB, engine: 'io_uring' as const, depth: 16 },
    ]),
  ),
)

/** The direct jobs of `--quick`, by name. */
const quickDirect = new Set([
  'randread 4k psync direct',
  'randwrite 4k psync direct',
  'randread 4k io_uring depth 16 direct',
  'randwrite 4k io_uring depth 16 direct',
  'read 1m psync direct',
  'write 1m psync direct',
])
const quickBuffered = new Set([
  'randread 4k psync buffered',
  'read 128k psync buffered',
  'write 128k psync buffered',
])

const bufferedJobs = (['read', 'write', 'randread', 'randwrite'] as const).flatMap((rw) =>
  [4, 128].map((blockKiB) => ({ rw, blockKiB, engine: 'psync' as const, depth: 1, direct: false })),
)

const together = (['randread', 'randwrite'] as const).map((rw) =>
  fioWorkload({ rw, blockKiB: 4, engine: 'psync', depth: 1, direct: true, jobs: 4 }),
)

function cases(policy: Policy, workloads: readonly Workload[], quick: (name: string) => boolean): Case[] {
  return workloads.map((workload) => ({ policy, workload, quick: quick(workload.name) }))
}

const direct = directJobs.map((job) => fioWorkload({ ...job, direct: true }))
const buffered = bufferedJobs.map((job) => fioWorkload(job))
const metadata = [storm, untar, gitStatus]

/** Everything that is measured, policy by policy. */
export const allCases: readonly Case[] = [
  ...cases(never, direct, (name) => quickDirect.has(name)),
  ...cases(never, metadata, () => false),
  ...cases(parallel, together, (name) => name.startsWith('randwrite')),
  ...cases(
    hostDirect,
    direct.filter(({ name }) => !name.includes('128k')),
    () => false,
  ),
  ...cases(auto, buffered, (name) => quickBuffered.has(name)),
  ...cases(auto, metadata, () => true),
  ...cases(always, buffered, () => false),
  ...cases(always, metadata, () => false),
  ...cases(
    writeback,
    buffered.filter(({ name }) => name.includes('write')),
    () => false,
  ),
]
