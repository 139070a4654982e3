import { fileURLToPath } from 'node:url'
import { ruledTable } from '../../../src/commands/text-table.js'
import { showProgress } from '../../host/progress.js'
import { median, spread } from '../statistics.js'
import { makeBenchShare, SHARE_PATHS } from './bench-share.js'
import type { OwnResult, Setup } from './comparison.js'
import { Contender, fairArgs } from './contender.js'
import type { Job, RunResult } from './load-generator.js'

const module = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url))

/** Our program's options for each kind of file system; none for the passthrough file system. */
const KINDS = {
  passthrough: [],
  'raw floor': ['--file-system', module('own-raw')],
  'tree, values': ['--file-system', module('own-tree')],
  'tree, promises': ['--file-system', `${module('own-tree')}?promises=1`],
  'tree, slow LOOKUPs': ['--file-system', `${module('own-tree')}?promises=1&lookupMs=10`],
} as const satisfies Readonly<Record<string, readonly string[]>>

type Kind = keyof typeof KINDS

/** A measured job on several kinds, compared with the first by rate, or by p50. */
interface OwnCase {
  readonly name: string
  readonly by: 'rate' | 'p50'
  readonly jobs: Readonly<Partial<Record<Kind, Job>>>
}

function onAll(name: string, job: Job): OwnCase {
  const kinds: readonly Kind[] = ['passthrough', 'raw floor', 'tree, values', 'tree, promises']
  return { name: `own: ${name}`, by: 'rate', jobs: Object.fromEntries(kinds.map((kind) => [kind, job])) }
}

const GETATTR: Job = { workload: 'getattr', depth: 1 }

export const OWN_CASES: readonly OwnCase[] = [
  onAll('getattr, 32 deep', { workload: 'getattr', depth: 32 }),
  onAll('lookup + forget, 32 deep', { workload: 'lookup+forget', depth: 32 }),
  onAll('lookup again, 32 deep', { workload: 'lookup-again', depth: 32 }),
  onAll('getattr, 1 deep', GETATTR),
  {
    name: 'own: getattr, beside LOOKUPs of 10 ms',
    by: 'p50',
    jobs: {
      'tree, promises': GETATTR,
      'tree, slow LOOKUPs': { ...GETATTR, beside: { workload: 'lookup-again' } },
    },
  },
]

/** Measures file systems of a user's own beside the passthrough one, under the same load. */
export async function measureOwn(cases: readonly OwnCase[], setup: Setup): Promise<OwnResult[]> {
  if (cases.length === 0) return []
  const share = makeBenchShare(SHARE_PATHS.memory)
  const contenders = new Map<Kind, Contender>()
  for (const kind of Object.keys(KINDS) as Kind[]) {
    if (!cases.some(({ jobs }) => jobs[kind] !== undefined)) continue
    const args = [...fairArgs('virtiofsd-ts', setup.sandbox), ...KINDS[kind], ...setup.ourArgs]
    contenders.set(
      kind,
      await Contender.start({ device: 'virtiofsd-ts', args, share, placement: setup.placement }),
    )
  }
  const results: OwnResult[] = []
  for (const known of cases)
    results.push(await showProgress(known.name, () => runCase(known, contenders, setup)))
  for (const contender of contenders.values()) await contender.stop()
  return results
}

async function runCase(
  { name, by, jobs }: OwnCase,
  contenders: ReadonlyMap<Kind, Contender>,
  { rounds, runMs, warmUpMs }: Setup,
): Promise<OwnResult> {
  const runs: Record<string, RunResult[]> = {}
  for (let round = 0; round < rounds; round++) {
    for (const [kind, job] of Object.entries(jobs)) {
      runs[kind] ??= []
      // The keys of `jobs` are kinds, and each has a contender.
      runs[kind].push(await contenders.get(kind as Kind)!.run(job, runMs, warmUpMs))
    }
  }
  return { name, by, runs }
}

export function formatOwn(results: readonly OwnResult[]): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const columns = [
    { title: 'workload' },
    { title: 'served by' },
    right('per second'),
    right('p50 us'),
    right('CPU us'),
    right('to the first'),
  ]
  return ruledTable(columns, results.flatMap(rowsOf))
}

function rowsOf({ name, by, runs }: OwnResult): string[][] {
  const [base = []] = Object.values(runs)
  return Object.entries(runs).map(([kind, own], n) => {
    const ratios = own.map((run, round) =>
      by === 'rate' ? run.opsPerSec / base[round]!.opsPerSec : run.p50Us / base[round]!.p50Us,
    )
    const figures = [
      median(own.map(({ opsPerSec }) => opsPerSec)).toFixed(0),
      median(own.map(({ p50Us }) => p50Us)).toFixed(1),
      median(own.map(({ deviceCpuUs }) => deviceCpuUs)).toFixed(2),
    ]
    const ratio = `${by === 'rate' ? '' : 'p50 '}x ${median(ratios).toFixed(2)} ±${(100 * spread(ratios)).toFixed(0)}%`
    return [n === 0 ? name : '', kind, ...figures, n === 0 ? '' : ratio]
  })
}
