/** `make bench-limits`: our device's costs besides requests: its start, its memory, its idleness, its pauses. */
import { existsSync, mkdirSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { DeviceProcess, OURS } from './device/device-process.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { LeashedProcess } from './host/leashed-process.js'
import { showProgress } from './host/progress.js'
import { SetupError } from './host/setup-error.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { describeFailure } from './measure/bench-device/command-failure.js'
import { Contender, fairArgs, putFirst } from './measure/bench-device/contender.js'
import { cpuMs, privateBytes, processTree, residentBytes, sleeps, wholeCpuUs } from './measure/processes.js'
import { median } from './measure/statistics.js'

const NAME = 'virtiofsd-ts'
const MIB = 1024 * 1024
const US_PER_MS = 1000
const STARTS = 7
const POLL_MS = 2
/** After the last request V8 collects garbage a few times, some seconds apart. */
const SETTLE_MS = 45_000
const FEW_FILES = 2000
const MANY_SHARES = 8
const VERY_MANY_SHARES = 52
/** A start is over after this time. */
const IDLE_MS = 3000
const MIX = { workload: 'mix', depth: 32, bytes: 4096 }

interface Options {
  inodes: number
  minutes: number
  idleSeconds: number
  only?: string[]
}

type Row = [what: string, figure: string]

/** The measurements, each on a device of its own. */
const measurements: Readonly<Record<string, (options: Options) => Promise<Row[]>>> = {
  start: async () => [...(await starts('none')), ...(await starts('namespace'))],
  memory,
  idle: idleness,
  floor,
  queues,
  'open-files': openFiles,
  inodes,
  soak,
}

/**
 * Times from the start of the process until a front-end can connect, and until the share reports that it is ready.
 */
async function starts(sandbox: string): Promise<Row[]> {
  const connected: number[] = []
  const ready: number[] = []
  const worked: number[] = []
  for (let n = 0; n < STARTS; n++) {
    const dir = makeTemporaryDir()
    const socket = join(dir.path, 'socket')
    const share = join(dir.path, 'share')
    mkdirSync(share)
    const args = ['--shared-dir', share, '--socket-path', socket, '--sandbox', sandbox]
    const startMs = performance.now()
    const device = new LeashedProcess(NAME, { command: process.execPath, args: [OURS] }, args)
    if (process.getuid?.() === 0) putFirst(device.pid)
    const readyLine = new Promise<void>((resolve) =>
      device.on('line', (line) => line.includes('"ready') && resolve()),
    )
    // A bound socket also listens. A test connection would use up the share's only front-end.
    while (!existsSync(socket)) await sleep(POLL_MS)
    connected.push(performance.now() - startMs)
    await readyLine
    ready.push(performance.now() - startMs)
    worked.push(wholeCpuUs(processTree(device.pid)) / US_PER_MS)
    await device.stop()
    dir.remove()
  }
  return [
    [`start, --sandbox ${sandbox}: a front-end can connect`, `${median(connected).toFixed(0)} ms`],
    [`start, --sandbox ${sandbox}: ready to answer it`, `${median(ready).toFixed(0)} ms`],
    [`start, --sandbox ${sandbox}: processor time until then`, `${median(worked).toFixed(0)} ms`],
  ]
}

/** Private memory, before any guest and after work of all kinds. */
async function memory(): Promise<Row[]> {
  // The first share has no thread of its own.
  const [one, two, many] = [
    await idleBytes(1),
    await idleBytes(2, 2),
    await idleBytes(MANY_SHARES, MANY_SHARES),
  ]
  const [few, veryMany] = [await idleBytes(2, 1), await idleBytes(VERY_MANY_SHARES, 1)]
  const used = await startOne()
  await used.run(MIX, 5000, 0)
  const usedBytes = privateBytes(used.pids)
  await used.stop()
  return [
    ['private memory with one share', mib(one)],
    ['private memory with two shares, a thread for each', mib(two)],
    ['private memory with two shares on one thread', mib(few)],
    ['private memory of each further share with a thread', mib((many - two) / (MANY_SHARES - 2))],
    [
      'private memory of each further share on a thread that is there',
      mib((veryMany - few) / (VERY_MANY_SHARES - 2)),
    ],
    ['private memory with one share, after 5 s of all operations', mib(usedBytes)],
  ]
}

/** Returns the private memory of a device with `count` shares, confined as by default. */
async function idleBytes(count: number, threads = 1): Promise<number> {
  const dir = makeTemporaryDir()
  const shares = Array.from({ length: count }, (_, n) => join(dir.path, `share-${n}`))
  for (const share of shares) mkdirSync(share)
  const described = shares.flatMap((share) => ['--share', `path=${share},socket=${share}.socket`])
  const args = ['--share-threads', `${threads}`, ...described]
  const [first = '', ...others] = shares.map((share) => `${share}.socket`)
  const device = await DeviceProcess.startOurs(args, [first, ...others])
  await sleep(IDLE_MS)
  const bytes = privateBytes(processTree(device.pid))
  await device.stop()
  dir.remove()
  return bytes
}

const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`

function startOne(
  extra: { queues?: number; nodeArgs?: string[] } = {},
  entries?: number,
): Promise<Contender> {
  const path = entries === undefined ? SHARE_PATHS.memory : `${SHARE_PATHS.memory}-${entries}`
  const share = makeBenchShare(path, undefined, entries)
  return Contender.start({ device: NAME, args: fairArgs(NAME, false), share, placement: 'apart', ...extra })
}

async function idleness({ idleSeconds }: Options): Promise<Row[]> {
  const one = await startOne()
  await one.run({ workload: 'getattr', depth: 1 }, 1000, 0)
  await sleep(SETTLE_MS)
  const resident = residentBytes(one.pids)
  const before = { cpu: cpuMs(one.pids), sleeps: sleeps(one.pids) }
  await sleep(1000 * idleSeconds)
  const usedMs = cpuMs(one.pids) - before.cpu
  const woken = sleeps(one.pids) - before.sleeps
  await one.stop()
  return [
    ['resident memory with one share', `${(resident / MIB).toFixed(0)} MiB`],
    [`idle for ${idleSeconds} s: processor`, `${(usedMs / idleSeconds / 10).toFixed(3)} %`],
    [`idle for ${idleSeconds} s: wake-ups of all threads`, String(woken)],
  ]
}

/** The limits that no device can beat. */
async function floor(): Promise<Row[]> {
  const one = await startOne()
  const bare = await one.load.floor()
  await one.stop()
  return Object.entries(bare).map(([name, us]) => [`without a device: ${name}`, `${us.toFixed(2)} us`])
}

async function queues(): Promise<Row[]> {
  const rows: Row[] = []
  for (const count of [1, 2, 8, 64]) {
    const one = await startOne({ queues: count })
    const { opsPerSec } = await one.run({ workload: 'getattr', depth: 64 }, 1000, 200)
    await one.stop()
    rows.push([`getattr, 64 deep, over ${count} request queues`, `${opsPerSec.toFixed(0)}/s`])
  }
  return rows
}

async function openFiles(): Promise<Row[]> {
  const one = await startOne()
  const before = residentBytes(one.pids)
  // The most that this host lets the device have.
  const count = Math.min(100_000, one.fileLimit - FEW_FILES)
  const running = one.run({ workload: 'open-many', depth: 32, bytes: count }, 4000, 0)
  await sleep(3500)
  const bytes = residentBytes(one.pids) - before
  const { p99Us } = await running
  await one.stop()
  const label = `${count.toLocaleString('en')} open files`
  return [
    [`${label}: memory for each`, `${(bytes / count).toFixed(0)} bytes`],
    [`${label}: p99 of open, 32 deep`, `${p99Us.toFixed(0)} us`],
  ]
}

async function inodes({ inodes: count }: Options): Promise<Row[]> {
  const one = await startOne({}, count)
  await one.run({ workload: 'getattr', depth: 1 }, 500, 0)
  const before = residentBytes(one.pids)
  // Lists everything once. The lookups are forgotten afterwards, but the table keeps its size.
  const { entriesPerSec, entries } = await one
    .run({ workload: 'readdirplus-again', depth: 1 }, 1, 0)
    .then((run) => ({
      ...run,
      entries: run.entriesPerSec * run.seconds,
    }))
  const bytes = (residentBytes(one.pids) - before) / entries
  await one.stop()
  const label = `${Math.round(entries).toLocaleString('en')} cached inodes`
  return [
    [`${label}: memory for each`, `${bytes.toFixed(0)} bytes`],
    [`${label}, in one directory: listed at`, `${entriesPerSec.toFixed(0)}/s`],
  ]
}

/** Mixes all operations; reads memory use after the first minute and at the end. */
async function soak({ minutes }: Options): Promise<Row[]> {
  const one = await startOne({ nodeArgs: ['--trace-gc'] })
  // Pauses by isolate: the main thread also collects garbage, but no request waits for it.
  const pauses = new Map<string, number[]>()
  const sinceStart = performance.now()
  one.device.on('line', (line) => {
    const [, isolate, pause] = /:(0x[0-9a-f]+)\].* MB, ([\d.]+) \/ /.exec(line) ?? []
    if (isolate === undefined || performance.now() - sinceStart < 5000) return
    pauses.set(isolate, [...(pauses.get(isolate) ?? []), Number(pause)])
  })
  await one.run(MIX, 60_000, 0)
  const afterFirst = residentBytes(one.pids)
  let ops = 0
  let slowestUs = 0
  for (let minute = 1; minute < minutes; minute++) {
    const result = await one.run(MIX, 60_000, 0)
    ops += result.ops
    slowestUs = Math.max(slowestUs, result.maxUs)
  }
  const grown = residentBytes(one.pids) - afterFirst
  await one.stop()
  // The share's thread is the busiest one.
  const [busiest = []] = [...pauses.values()].sort((a, b) => b.length - a.length)
  return [
    [`${minutes} min mixed, 32 deep: operations after the first minute`, String(ops)],
    [`${minutes} min mixed: growth of memory after the first`, `${(grown / MIB).toFixed(1)} MiB`],
    [`${minutes} min mixed: garbage collections of the share's thread`, String(busiest.length)],
    [`${minutes} min mixed: longest of them`, `${Math.max(0, ...busiest).toFixed(2)} ms`],
    [`${minutes} min mixed: slowest operation, as the guest saw it`, `${(slowestUs / 1000).toFixed(2)} ms`],
  ]
}

const KNOWN = Object.keys(measurements).join(', ')

/** Parses names of measurements. Throws SetupError for an unknown one. */
function parseNames(value: string): string[] {
  const names = value.split(',')
  const unknown = names.find((name) => !Object.hasOwn(measurements, name))
  if (unknown !== undefined) throw new SetupError(`no such measurement: ${unknown}; there are ${KNOWN}`)
  return names
}

const command = new Command('bench-limits')
  .description('Measures start, memory and idleness of our device, and its limits under load.')
  .option('--inodes <count>', 'how many inodes are cached at a time', parseCount, 1_000_000)
  .option('--minutes <count>', 'how long the mixed load takes', parseCount, 10)
  .option('--idle-seconds <count>', 'how long the device has no request', parseCount, 30)
  .option('--only <names>', `some of ${KNOWN}`, parseNames)
  .exitOverride()

async function run(options: Options): Promise<void> {
  // The timing process needs the same priority as the processes it times.
  if (process.getuid?.() === 0) {
    setPriority(process.pid, constants.priority.PRIORITY_HIGHEST)
    putFirst(process.pid)
  }
  const rows: Row[] = []
  for (const [name, measure] of Object.entries(measurements)) {
    if (options.only?.includes(name) ?? true) rows.push(...(await showProgress(name, () => measure(options))))
  }
  process.stdout.write(ruledTable([{ title: '' }, { title: 'measured', align: 'right' }], rows))
}

// Node reads these certificates at its start, for tens of milliseconds that are not the device's.
delete process.env['NODE_EXTRA_CA_CERTS']
await runAsProgram(command, run, describeFailure)
