/**
 * `make bench-migration`: how long a guest with many inodes in its cache stands still while it moves, ours beside a peer.
 * The guest is played on the devices' sockets.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { type DeviceName, DeviceProcess } from './device/device-process.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { showProgress } from './host/progress.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { findPeer, PEER_NAMES } from './measure/bench/peer.js'
import { CachedGuest } from './measure/migrations/cached-guest.js'
import { cpuMs, peakResidentBytes, processTree, residentBytes, wholeCpuUs } from './measure/processes.js'
import { median } from './measure/statistics.js'

const MIB = 1024 * 1024
const FILES_PER_DIRECTORY = 1000
/** Both open inodes by file handle: neither needs a descriptor for each. */
const ARGS = ['--cache', 'auto', '--sandbox', 'none', '--inode-file-handles=prefer']
/** A device that has slept for this long has ended its preparations. */
const QUIET_MS = 500

interface Options {
  inodes: number
  rounds: number
  peer: string
}

interface Contender {
  readonly name: string
  readonly device: DeviceName
  readonly program: string | undefined
  readonly args: readonly string[]
}

/** One move; times in milliseconds, memory in bytes. */
interface Round {
  readonly prepareCpuMs: number
  readonly saveMs: number
  readonly loadMs: number
  readonly pauseMs: number
  readonly saveCpuMs: number
  readonly loadCpuMs: number
  readonly stateBytes: number
  /** What the source has with the guest's inodes, and the most that both have had at the end. */
  readonly residentBytes: number
  readonly sourcePeakBytes: number
  readonly destinationPeakBytes: number
}

async function run({ inodes, rounds, peer: peerName }: Options): Promise<void> {
  const peer = await findPeer(peerName)
  const contenders: Contender[] = [
    { name: 'virtiofsd-ts', device: 'virtiofsd-ts', program: undefined, args: [] },
    ...(peer === undefined
      ? []
      : [
          { name: `${peer.device}, as it is`, device: peer.device, program: peer.program, args: [] },
          {
            name: `${peer.device}, verifying`,
            device: peer.device,
            program: peer.program,
            args: ['--migration-verify-handles'],
          },
        ]),
  ]
  const dir = makeTemporaryDir()
  await showProgress(`making ${inodes} files`, async () => makeFiles(dir.path, inodes))
  const results = new Map<Contender, Round[]>(contenders.map((contender) => [contender, []]))
  for (let n = 0; n < rounds; n++)
    for (const contender of contenders)
      results.get(contender)!.push(await oneRound(contender, dir.path, inodes))
  dir.remove()
  report(inodes, rounds, results)
}

function makeFiles(path: string, count: number): void {
  for (let n = 0; n < count; n++) {
    const directory = join(path, `directory-${Math.floor(n / FILES_PER_DIRECTORY)}`)
    if (n % FILES_PER_DIRECTORY === 0) mkdirSync(directory)
    writeFileSync(join(directory, `file-${n}`), '')
  }
}

async function oneRound(
  { device, program, args }: Contender,
  sharedDir: string,
  inodes: number,
): Promise<Round> {
  const start = () => DeviceProcess.start({ device, program, sharedDir, args: [...ARGS, ...args] })
  const [source, destination] = [await start(), await start()]
  const guest = new CachedGuest(source.socketPath)
  guest.lookAtEverything()
  if (guest.inodes < inodes) throw new Error(`the guest knows ${guest.inodes} inodes, not ${inodes}`)
  const [from, to] = [processTree(source.pid), processTree(destination.pid)]
  const resident = residentBytes(from)
  const idleCpuMs = spentMs(from)
  guest.beginMigration()
  await untilQuiet(from)
  const [fromCpuMs, toCpuMs] = [spentMs(from), spentMs(to)]
  const { saveMs, loadMs, stateBytes } = guest.move(destination.socketPath)
  const round = {
    prepareCpuMs: fromCpuMs - idleCpuMs,
    saveMs,
    loadMs,
    pauseMs: saveMs + loadMs,
    saveCpuMs: spentMs(from) - fromCpuMs,
    loadCpuMs: spentMs(to) - toCpuMs,
    stateBytes,
    residentBytes: resident,
    sourcePeakBytes: peakResidentBytes(from),
    destinationPeakBytes: peakResidentBytes(to),
  }
  guest.close()
  await source.stop()
  await destination.stop()
  return round
}

/** The processor time of processes, in milliseconds; that of threads which have ended counts, too. */
function spentMs(pids: readonly number[]): number {
  return wholeCpuUs(pids) / 1000
}

/** Resolves once processes use no processor time any more. */
async function untilQuiet(pids: readonly number[]): Promise<void> {
  for (let before = -1, now = cpuMs(pids); now - before > 1; ) {
    before = now
    await sleep(QUIET_MS)
    now = cpuMs(pids)
  }
}

function report(inodes: number, rounds: number, results: ReadonlyMap<Contender, readonly Round[]>): void {
  const ms = (values: readonly number[]) =>
    `${median(values).toFixed(0)} (${Math.min(...values).toFixed(0)}–${Math.max(...values).toFixed(0)})`
  const mib = (values: readonly number[]) => (median(values) / MIB).toFixed(0)
  const lines: [string, keyof Round, (values: readonly number[]) => string][] = [
    ['between stop and go, ms', 'pauseMs', ms],
    ['  saving, ms', 'saveMs', ms],
    ['  loading, ms', 'loadMs', ms],
    ['processor before the stop, ms', 'prepareCpuMs', ms],
    ['processor of the source, ms', 'saveCpuMs', ms],
    ['processor of the destination, ms', 'loadCpuMs', ms],
    ['state, MiB', 'stateBytes', mib],
    ['memory of the source before, MiB', 'residentBytes', mib],
    ['  at most, MiB', 'sourcePeakBytes', mib],
    ['memory of the destination at most, MiB', 'destinationPeakBytes', mib],
  ]
  const columns = [...results.keys()].map(({ name }) => ({ title: name, align: 'right' as const }))
  const rows = lines.map(([title, field, format]) => [
    title,
    ...[...results.values()].map((all) => format(all.map((round) => round[field]))),
  ])
  process.stdout.write(
    `${inodes.toLocaleString('en')} files in the guest's cache, ${rounds} rounds: median (least–most)\n\n`,
  )
  process.stdout.write(`${ruledTable([{ title: '' }, ...columns], rows)}\n`)
}

const command = new Command('bench-migration')
  .description('Moves a guest that has many inodes in its cache, and says how long it stands still.')
  .option('--inodes <n>', 'how many files the guest has looked at', parseCount, 100_000)
  .option('--rounds <n>', 'how many moves, each between new devices', parseCount, 5)
  .option('--peer <name or path>', `one of ${PEER_NAMES.join(', ')}, or a program`, 'virtiofsd')
  .exitOverride()

await runAsProgram(command, run)
