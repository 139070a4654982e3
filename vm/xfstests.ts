/** `make xfstests`: xfstests, built by the user, on two shares of a guest: ours, a peer, and an earlier run in one table. */
import { existsSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { DEFAULT_KERNEL } from './guest/guest.js'
import { KERNEL_NAMES } from './guest/kernel.js'
import { runCommand } from './host/command.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { SetupError } from './host/setup-error.js'
import { buildKernel, FLAVOURS, type Flavour } from './lab/tree/build-kernel.js'
import { describePeer, findPeer, PEER_NAMES, type Peer } from './measure/bench/peer.js'
import { checkPlace, SUITES } from './measure/suites/suites.js'
import { type BedOptions, type CaseEnd, XfstestsBed } from './measure/suites/xfstests-bed.js'
import { chooseCases, whyExpunged } from './measure/suites/xfstests-cases.js'
import {
  type CaseResult,
  type RunResult,
  readBaseline,
  regressions,
  resultTable,
  xunitXml,
} from './measure/suites/xfstests-results.js'
import { POLICIES, type PolicyName } from './measure/work/policies.js'
import { cacheRoot } from './packages/cache.js'
import { writeReports } from './report/write-reports.js'

const DETAIL_LINES = 25

interface Options {
  xfstests?: string
  group: string
  tests?: string
  cache: PolicyName
  kernel: string
  tree?: string
  flavour: Flavour
  qemu?: string
  peer: string
  baseline?: string
  limit: number
  json?: string
  junit?: string
}

function makeCommand(): Command {
  return new Command('xfstests')
    .description(
      'Runs xfstests in a guest, with two shares as TEST and SCRATCH. Prints each case, and one table with what does not ' +
        'pass everywhere: on our device, on a peer, and in an earlier run. Ends with 1 when a case of the earlier run has ' +
        'passed and fails now.',
    )
    .option(
      '--xfstests <directory>',
      'xfstests, which is built there if it is not; else `xfstests` in the cache',
    )
    .option('--group <name>', 'a group of its generic and fuse cases', 'quick')
    .option('--tests <names>', 'these cases instead, such as "generic/001 generic/451"')
    .addOption(
      new Option('--cache <policy>', 'cache policy of both shares')
        .choices(Object.keys(POLICIES))
        .default('auto'),
    )
    .option(
      '--kernel <name or path>',
      `one of ${KERNEL_NAMES.join(', ')}, a release, or a bzImage`,
      DEFAULT_KERNEL,
    )
    .option('--tree <path>', 'a kernel built from this tree instead, as make lab does')
    .addOption(
      new Option('--flavour <name>', "debug: with the kernel's own checks")
        .choices(FLAVOURS)
        .default('default'),
    )
    .option('--qemu <name or path>', 'as make run takes it')
    .option(
      '--peer <name or path>',
      `the device beside ours: ${PEER_NAMES.join(', ')}, or a program`,
      'virtiofsd',
    )
    .option('--baseline <file>', 'an earlier run: a file of --json')
    .option('--limit <seconds>', 'a case that takes longer has failed', parseCount, 300)
    .option('--json <file>', 'write all results, as a baseline for later runs')
    .option('--junit <file>', 'write all results as xunit')
    .exitOverride()
}

async function run(options: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new SetupError('xfstests needs root: it works as several users')
  const path = await findXfstests(options.xfstests)
  const cases = chooseCases(path, options)
  const baseline = options.baseline === undefined ? undefined : readBaseline(options.baseline)
  const peer = await findPeer(options.peer)
  const kernel =
    options.tree === undefined ? options.kernel : await buildKernel(options.tree, options.flavour)

  const runs: RunResult[] = []
  for (const device of peer === undefined ? [undefined] : [undefined, peer]) {
    const bed = { policy: options.cache, kernel, qemu: options.qemu, peer: device }
    runs.push(await runCases(path, cases, bed, options.limit))
  }
  const columns = runs.map((one) => ({ title: one.device, run: one }))
  if (baseline !== undefined) columns.push({ title: `baseline, Linux ${baseline.release}`, run: baseline })
  say(`\nLinux ${runs[0]!.release}, ${options.cache}\n\n${resultTable(columns)}`)
  writeReports(options.json === undefined ? {} : { json: options.json }, runs, () => '')
  if (options.junit !== undefined) writeFileSync(options.junit, xunitXml(runs))
  const worse = baseline === undefined ? [] : regressions(runs[0]!, baseline)
  if (worse.length > 0) throw new Error(`passed in the baseline, and fails now: ${worse.join(', ')}`)
}

/** Returns the directory of a built xfstests; builds it if need be. */
async function findXfstests(given: string | undefined): Promise<string> {
  const path = given ?? join(cacheRoot(), 'xfstests')
  if (!existsSync(path))
    throw new SetupError(
      given === undefined
        ? `no xfstests: give its directory, or put it into ${path}`
        : `no directory ${path}`,
    )
  checkPlace(SUITES.xfstests, path)
  if (existsSync(join(path, 'src/af_unix'))) return path
  await showProgress(`building xfstests in ${path}`, () =>
    runCommand('make', ['-C', path, `-j${availableParallelism()}`]),
  ).catch((error: Error) => {
    throw new SetupError(`xfstests does not build, its README names what it needs: ${error.message}`)
  })
  return path
}

async function runCases(
  path: string,
  names: readonly string[],
  options: BedOptions,
  limitSec: number,
): Promise<RunResult> {
  const device = nameOf(options.peer)
  const bed = await XfstestsBed.make(path, options)
  try {
    const release = await bed.prepare()
    say(`\n${device}, ${options.policy}, Linux ${release}: ${names.length} cases`)
    const cases: CaseResult[] = []
    for (const name of names) {
      const result = await runCase(bed, name, limitSec)
      cases.push(result)
      sayCase(result)
    }
    return { device, release, policy: options.policy, cases }
  } finally {
    await bed.close()
  }
}

function nameOf(peer: Peer | undefined): string {
  return peer === undefined ? 'virtiofsd-ts' : describePeer(peer)
}

async function runCase(bed: XfstestsBed, name: string, limitSec: number): Promise<CaseResult> {
  const reason = whyExpunged(name, bed.release)
  if (reason !== undefined) return { name, outcome: 'not run', seconds: 0, details: reason }
  const startMs = performance.now()
  const end = await bed.run(name, limitSec)
  const seconds = (performance.now() - startMs) / 1000
  const outcome = end.status === null ? 'fail' : SUITES.xfstests.outcomeOf(end.status, end.output)
  const details = outcome === 'pass' ? '' : await detailsOf(bed, name, outcome, end)
  return { name, outcome, seconds, details }
}

async function detailsOf(
  bed: XfstestsBed,
  name: string,
  outcome: 'fail' | 'skip',
  { output }: CaseEnd,
): Promise<string> {
  if (outcome === 'skip') return /\[not run\]\s*(.*)/.exec(output)?.[1] ?? ''
  const lines = [output.trimEnd(), await bed.details(name)].join('\n').trimEnd().split('\n')
  return lines.slice(-DETAIL_LINES).join('\n')
}

function sayCase({ name, outcome, seconds, details }: CaseResult): void {
  const more = outcome === 'fail' ? `\n${details.replaceAll(/^/gm, '    ')}` : details
  say(`  ${name}  ${outcome.padEnd(7)} ${seconds.toFixed(1).padStart(6)} s  ${more}`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)
