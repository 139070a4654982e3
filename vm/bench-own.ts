/**
 * `make bench-own`: file systems of a user's own on each floor, compared with the passthrough one under the same
 * load.
 */
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { Contender, fairArgs } from './measure/bench-device/contender.js'
import type { Job, RunResult } from './measure/bench-device/load-generator.js'
import { median } from './measure/statistics.js'

const WARM_UP_MS = 60

const module = (name: string) => fileURLToPath(new URL(`./measure/bench-device/${name}.js`, import.meta.url))

/** The program's options for each kind of file system; none for the passthrough file system. */
const kinds = {
  passthrough: [],
  'raw floor': ['--file-system', module('own-raw')],
  'tree, values': ['--file-system', module('own-tree')],
  'tree, promises': ['--file-system', `${module('own-tree')}?promises=1`],
} as const satisfies Readonly<Record<string, readonly string[]>>

type Kind = keyof typeof kinds

const jobs: readonly (readonly [string, Job])[] = [
  ['getattr, 32 deep', { workload: 'getattr', depth: 32 }],
  ['lookup + forget, 32 deep', { workload: 'lookup+forget', depth: 32 }],
  ['lookup again, 32 deep', { workload: 'lookup-again', depth: 32 }],
  ['getattr, 1 deep', { workload: 'getattr', depth: 1 }],
]

async function run({ rounds, runMs }: { rounds: number; runMs: number }): Promise<void> {
  const share = makeBenchShare(SHARE_PATHS.memory)
  const contenders = new Map<Kind, Contender>()
  for (const [kind, own] of Object.entries(kinds) as [Kind, readonly string[]][]) {
    const args = [...fairArgs('virtiofsd-ts', false), ...own]
    contenders.set(kind, await Contender.start({ device: 'virtiofsd-ts', args, share, placement: 'apart' }))
  }
  const rows: string[] = []
  for (const [name, job] of jobs) {
    const results = new Map<Kind, RunResult[]>([...contenders.keys()].map((kind) => [kind, []]))
    await showProgress(name, async () => {
      for (let round = 0; round < rounds; round++)
        for (const [kind, contender] of contenders)
          results.get(kind)?.push(await contender.run(job, runMs, WARM_UP_MS))
    })
    const base = results.get('passthrough') ?? []
    for (const [kind, runs] of results) {
      const ratio = median(runs.map(({ opsPerSec }, n) => opsPerSec / (base[n]?.opsPerSec ?? Number.NaN)))
      const cpuUs = median(runs.map(({ deviceCpuUs }) => deviceCpuUs))
      const columns = [
        name.padEnd(26),
        kind.padEnd(16),
        ratio.toFixed(2).padStart(6),
        cpuUs.toFixed(2).padStart(10),
      ]
      rows.push(columns.join(' '))
    }
  }
  for (const contender of contenders.values()) await contender.stop()
  const head = ['workload'.padEnd(26), 'served by'.padEnd(16), ' ratio', ' CPU us/op']
  process.stdout.write(`${[head.join(' '), ...rows].join('\n')}\n`)
}

await runAsProgram(
  new Command('bench-own')
    .description(
      'Measures file systems of a user’s own beside the passthrough one: operations per second, as ratios.',
    )
    .option('--rounds <count>', 'how often each workload is run on each', parseCount, 7)
    .option('--run-ms <ms>', 'for how long', parseCount, 300)
    .exitOverride(),
  run,
)
