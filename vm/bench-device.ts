/** `make bench-device`: our device and others, in turn, under the same load, without a virtual machine. */
import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { Command, Option } from 'commander'
import { DEVICE_NAMES, type DeviceName, NEWEST_PEER } from './device/device-process.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { SetupError } from './host/setup-error.js'
import { makeBenchShare, SHARE_PATHS, type SharePlace } from './measure/bench-device/bench-share.js'
import { CASES, type Case } from './measure/bench-device/cases.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { type BenchReport, type CaseResult, compare, type Setup } from './measure/bench-device/comparison.js'
import {
  Contender,
  DIRECT_ARGS,
  fairArgs,
  PLACEMENTS,
  type Placement,
} from './measure/bench-device/contender.js'
import { formatOwn, measureOwn, OWN_CASES } from './measure/bench-device/own-file-systems.js'
import { formatReport } from './measure/bench-device/report.js'
import { formatRuns, joinRuns } from './measure/bench-device/runs.js'
import { median } from './measure/statistics.js'

interface Options {
  peer: string
  quick?: boolean
  only?: string
  runs: number
  rounds?: number
  runMs?: number
  placement: Placement
  pollUs?: number
  sandbox?: boolean
  json?: string
  busy?: boolean
}

const PEERS: readonly DeviceName[] = DEVICE_NAMES.filter((name) => name !== 'virtiofsd-ts')

function makeCommand(): Command {
  return new Command('bench-device')
    .description(
      'Measures our device beside others: a front-end plays the guest of each in turn, for a moment at a time. ' +
        'Options after -- go to our device.',
    )
    .option('--peer <names>', `none, or some of ${PEERS.join(', ')}`, 'virtiofsd-1.14,virtiofsd-c')
    .option('--quick', 'fewer workloads, three rounds')
    .option('--only <pattern>', 'only workloads whose name matches this regular expression')
    .option(
      '--runs <count>',
      'how often all of it is measured, with devices that are started anew',
      parseCount,
      1,
    )
    .option('--rounds <count>', 'how often each workload runs on each device (7; quick: 3)', parseCount)
    .option('--run-ms <ms>', 'how long each run takes (300)', parseCount)
    .addOption(
      new Option(
        '--placement <how>',
        'apart: generator and device on a processor each; same: both on one; free: as the scheduler decides',
      )
        .choices(PLACEMENTS)
        .default('apart'),
    )
    .option('--poll-us <us>', 'for our device, instead of its default; 0: no polling', Number)
    .option('--sandbox', 'confine every device as it is by default')
    .option('--busy', 'the guest looks at its rings all the time and never sleeps')
    .option('--json <file>', 'write all runs as JSON')
    .argument('[device options...]')
    .exitOverride()
}

function chooseCases({ quick, only }: Options): { cases: Case[]; own: typeof OWN_CASES } {
  const pattern = new RegExp(only ?? '')
  const cases = CASES.filter(
    (known) => pattern.test(known.name) && (known.quick || !quick || only !== undefined),
  )
  const own = OWN_CASES.filter(({ name }) => pattern.test(name))
  if (cases.length + own.length === 0) throw new SetupError(`no workload's name matches ${only}`)
  return { cases, own }
}

function parsePeers(text: string): DeviceName[] {
  if (text === 'none') return []
  const names = text.split(',').map((name) => (name === 'virtiofsd' ? NEWEST_PEER : name))
  for (const name of names)
    if (!(PEERS as readonly string[]).includes(name)) throw new SetupError(`no such peer: ${name}`)
  return names as DeviceName[]
}

/** Runs all cases of one share, with the devices started for it. */
async function measure(
  place: SharePlace,
  cases: readonly Case[],
  devices: readonly DeviceName[],
  setup: Setup,
  busy: boolean,
): Promise<CaseResult[]> {
  if (cases.length === 0) return []
  const share = makeBenchShare(SHARE_PATHS[place])
  const contenders: Contender[] = []
  for (const device of devices) {
    const own = device === 'virtiofsd-ts' ? setup.ourArgs : []
    const direct = place === 'disk' ? DIRECT_ARGS[device] : []
    const args = [...fairArgs(device, setup.sandbox), ...direct, ...own]
    contenders.push(await Contender.start({ device, args, share, placement: setup.placement, busy }))
  }
  const results: CaseResult[] = []
  for (const known of cases)
    results.push(await showProgress(known.name, () => compare(known, contenders, setup)))
  for (const contender of contenders) await contender.stop()
  return results
}

/** Measures what system calls and wake-ups take on this machine; no device can be faster. */
async function measureFloor(): Promise<Readonly<Record<string, number>>> {
  const share = makeBenchShare(SHARE_PATHS.memory)
  const args = fairArgs('virtiofsd-ts', false)
  const idle = await Contender.start({ device: 'virtiofsd-ts', args, share, placement: 'apart' })
  const floor = await showProgress('floor', () => idle.load.floor())
  await idle.stop()
  return floor
}

async function run(options: Options, ownArgs: string[]): Promise<void> {
  const devices: DeviceName[] = ['virtiofsd-ts', ...parsePeers(options.peer)]
  const { cases, own } = chooseCases(options)
  const setup: Setup = {
    runs: options.runs,
    rounds: options.rounds ?? (options.quick ? 3 : 7),
    runMs: options.runMs ?? 300,
    warmUpMs: 60,
    placement: options.placement,
    sandbox: options.sandbox ?? false,
    ourArgs: options.pollUs === undefined ? ownArgs : [`--poll-us=${options.pollUs}`, ...ownArgs],
  }
  const all: CaseResult[][] = []
  for (let n = 0; n < setup.runs; n++) {
    const results: CaseResult[] = []
    for (const place of ['memory', 'disk'] as const) {
      const here = cases.filter((known) => known.place === place)
      results.push(...(await measure(place, here, devices, setup, options.busy ?? false)))
    }
    all.push(results)
  }
  const report: BenchReport = {
    version: 1,
    startedAt: new Date().toISOString(),
    host: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, Linux ${release()}, Node ${process.version}`,
    setup,
    devices,
    cases: joinRuns(all),
    floor: setup.runs > 1 ? await measureFloor() : {},
    own: await measureOwn(own, setup),
  }
  print(cases, report, options.json)
}

function print(cases: readonly Case[], report: BenchReport, file: string | undefined): void {
  const { setup } = report
  process.stdout.write(`${report.host}\n`)
  process.stdout.write(
    `${setup.runs > 1 ? `${setup.runs} runs; ` : ''}medians of ${setup.rounds} rounds of ${setup.runMs} ms; placement ${setup.placement}; ` +
      `${setup.sandbox ? 'each confined as by default' : 'not confined'}; our options: ${setup.ourArgs.join(' ') || 'none'}\n\n`,
  )
  if (cases.length > 0)
    process.stdout.write(setup.runs > 1 ? formatRuns(report) : formatReport(cases, report))
  if (report.own.length > 0) process.stdout.write(`\n${formatOwn(report.own)}`)
  process.stdout.write(
    `\nother programs used ${disturbance(report).toFixed(2)} processors meanwhile (median)\n`,
  )
  const floor = Object.entries(report.floor).map(([name, us]) => `${name} ${us.toFixed(2)}`)
  if (floor.length > 0) process.stdout.write(`without a device, in us: ${floor.join('; ')}\n`)
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(report)}\n`)
}

function disturbance({ cases, own }: BenchReport): number {
  return median(
    [...cases, ...own].flatMap(({ runs }) =>
      Object.values(runs).flatMap((all) => all.map((run) => run.othersCpu)),
    ),
  )
}

await runAsProgram(makeCommand(), run, describeFailure)
