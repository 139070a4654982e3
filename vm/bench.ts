/** `make bench`: what a guest's programs get out of our device and out of a peer, side by side in one guest. */
import { statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Command } from 'commander'
import picomatch from 'picomatch'
import { DEFAULT_KERNEL } from './guest/guest.js'
import { findKernel, KERNEL_NAMES } from './guest/kernel.js'
import { findQemu, QEMU_NAMES } from './guest/qemu.js'
import { runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { SetupError } from './host/setup-error.js'
import { BenchGuest } from './measure/bench/bench-guest.js'
import { benchPage } from './measure/bench/html-report.js'
import { type Measurement, measure } from './measure/bench/measure.js'
import { describePeer, findPeer, PEER_NAMES } from './measure/bench/peer.js'
import { allCases, type Case } from './measure/bench/plan.js'
import { type BenchResult, benchTable, intervalOf, rounded } from './measure/bench/report.js'
import { type ReportFiles, writeReports } from './report/write-reports.js'

const QUICK_RUNTIME_MS = 600
const RUNTIME_MS = 1_500

interface Options extends ReportFiles {
  peer: string
  quick?: true
  /** Set by --quick: its times, for all cases. */
  all?: true
  rounds: number
  only: string
  cache: string
  kernel: string
  modules?: string
  qemu?: string
  dir: string
  list?: true
}

function makeCommand(): Command {
  return new Command('bench')
    .description(
      'Boots a guest that has a share of ours and one of a peer for each cache policy, and measures both in turn. Options after -- go to our device.',
    )
    .option(
      '--peer <name or path>',
      `what to compare with: ${PEER_NAMES.join(', ')}, or a program`,
      'virtiofsd',
    )
    .option('--quick', 'the most telling cases only')
    .option('--all', 'with --quick: all cases, but each as short as there')
    .option('--rounds <count>', 'rounds that count', parseRounds, 5)
    .option('--only <glob>', 'only workloads whose names match, such as "randread 4k *"', '**')
    .option('--cache <glob>', 'only policies whose names match, such as never', '**')
    .option('--kernel <name or path>', `one of ${KERNEL_NAMES.join(', ')}, or a bzImage`, DEFAULT_KERNEL)
    .option('--modules <path>', 'for a bzImage: its modules, a folder like /lib/modules/RELEASE')
    .option(
      '--qemu <name or path>',
      `system, one of ${QEMU_NAMES.join(', ')}, or a program (default: system, else 10)`,
    )
    .option('--dir <path>', 'a folder of the file system to share from', tmpdir())
    .option('--json <file>', 'write the result as JSON')
    .option('--html <file>', 'write the result as a page, with charts')
    .option('--list', 'list the cases, and run none')
    .argument('[device options...]')
    .exitOverride()
}

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (Number.isSafeInteger(rounds) && rounds > 0) return rounds
  throw new SetupError(`--rounds ${text}: not a positive number`)
}

async function run(options: Options, ourArgs: string[]): Promise<void> {
  const cases = selectCases(options)
  if (options.list) {
    for (const { policy, workload } of cases) say(`${policy.name.padEnd(12)}${workload.name}`)
    return
  }
  if (!statSync(options.dir, { throwIfNoEntry: false })?.isDirectory())
    throw new SetupError(`--dir ${options.dir}: no such folder`)
  // Fetches first what may be missing; the guest then finds it in the cache.
  await findKernel(options.kernel, options.modules)
  await findQemu(options.qemu)
  const peer = await findPeer(options.peer)
  const startedAt = new Date()
  const bench = await showProgress(`booting Linux ${options.kernel}`, () =>
    BenchGuest.start({
      policies: [...new Set(cases.map(({ policy }) => policy))],
      peer,
      ourArgs,
      dir: options.dir,
      kernel: options.kernel,
      modulesDir: options.modules,
      qemu: options.qemu,
    }),
  )
  const { guest } = bench
  const result: BenchResult = {
    version: 1,
    startedAt: startedAt.toISOString(),
    seconds: 0,
    command: `make bench${commandWords(options, ourArgs)}`,
    host: `${cpus().length} x ${cpus()[0]?.model.trim()}, ${guest.accelerator === 'kvm' ? 'KVM' : 'TCG: the guest is emulated'}`,
    guest: `Linux ${guest.kernelRelease}, 2 processors`,
    peer: peer && describePeer(peer),
    rounds: options.rounds,
    runtimeMs: options.quick ? QUICK_RUNTIME_MS : RUNTIME_MS,
    measurements: [],
  }
  for (const [n, one] of cases.entries()) {
    progress(`${n + 1}/${cases.length}  ${one.policy.name}: ${one.workload.name} ...`)
    const measured = await measure(bench, one, result.rounds, result.runtimeMs)
    for (const measurement of measured) progress(`        ${inShort(measurement)}`)
    result.measurements.push(...measured)
    result.seconds = Math.round((Date.now() - startedAt.getTime()) / 1000)
    // Writes the results so far, in case a later case fails.
    writeReports(options, result, benchPage)
  }
  await bench.stop()
  say(benchTable(result))
  for (const file of [options.json, options.html])
    if (file !== undefined) say(pathToFileURL(resolve(file)).href)
}

function selectCases({ quick, all, only, cache }: Options): Case[] {
  const wants = picomatch(only, { dot: true })
  const wantsPolicy = picomatch(cache)
  const cases = allCases.filter(
    ({ policy, workload, quick: isQuick }) =>
      (isQuick || !quick || all) && wants(workload.name) && wantsPolicy(policy.name),
  )
  if (cases.length === 0) throw new SetupError('no case matches: --list shows them all')
  return cases
}

/** Formats the options as make takes them. */
function commandWords({ peer, quick, only, cache, rounds, kernel }: Options, ourArgs: string[]): string {
  const words = [
    ...(peer === 'virtiofsd' ? [] : [`PEER=${peer}`]),
    ...(quick ? ['QUICK=1'] : []),
    ...(rounds === 5 ? [] : [`ROUNDS=${rounds}`]),
    ...(only === '**' ? [] : [`ONLY='${only}'`]),
    ...(cache === '**' ? [] : [`CACHE='${cache}'`]),
    ...(kernel === DEFAULT_KERNEL ? [] : [`KERNEL=${kernel}`]),
    ...(ourArgs.length === 0 ? [] : [`ARGS='${ourArgs.join(' ')}'`]),
  ]
  return words.map((word) => ` ${word}`).join('')
}

function inShort({ workload, unit, ours, peer, ratio }: Measurement): string {
  const compared =
    peer === undefined || ratio === undefined
      ? ''
      : `, peer ${rounded(peer.rate.median)}, ratio ${ratio.median.toFixed(2)} (${intervalOf(ratio)})`
  return `${workload}: ${rounded(ours.rate.median)} ${unit}${compared}`
}

/** Prints to stderr, so that stdout has only the table. */
function progress(text: string): void {
  process.stderr.write(`${text}\n`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)
