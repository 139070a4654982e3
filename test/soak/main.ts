/** make soak: mixed load, verified, under random faults, for as long as it is told to; then a report. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Random } from '../support/random.js'
import { faults, type SoakState } from './faults.js'
import { connectGuest } from './front-end.js'
import { soakInGuest } from './guest-soak.js'
import { Load } from './load.js'
import { SoakDevice } from './soak-device.js'

const DEFAULT_MINUTES = 10
const STEPS_PER_FAULT = 40
/** All threads work for so many steps, after one round of the others in so many. */
const STEPS_OF_ALL = 100
const ROUNDS_PER_STEPS_OF_ALL = 2
const REPORT_EVERY_MS = 30_000
/** After this part of a device's life its memory has its full size. */
const WARM_UP_MS = 60_000
/** The heap varies by this much. More than that, and growing, is a leak. */
const NOISE_KIB = 32 * 1024
/** Node starts the threads of its pool when it first needs one. */
const POOL_THREADS = 4

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    hours: { type: 'string' },
    /** A kernel: the load runs in a guest with it, not through a front-end. */
    guest: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    /** Queues for requests, and threads of the device that serve them. */
    queues: { type: 'string', default: '2' },
    threads: { type: 'string', default: '1' },
    /** One process lives through all of it. */
    'no-kill': { type: 'boolean', default: false },
  },
})
const minutes =
  values.hours === undefined ? Number(values.minutes ?? DEFAULT_MINUTES) : Number(values.hours) * 60
const seed = Number(values.seed)
const queues = Number(values.queues)
const threads = Number(values.threads)
if (!(minutes > 0) || !Number.isInteger(seed))
  throw new Error('minutes and hours are positive, the seed is a whole number')
if (!(queues >= 1) || !(threads >= 1)) throw new Error('queues and threads are 1 or more')

const state = mkdtempSync(join(tmpdir(), 'vfs-soak-'))
const share = join(state, 'share')
mkdirSync(share)
const random = new Random(seed)
const injected = new Map<string, number>()
const fdGrowth: number[] = []
let threadGrowth = 0
let memoryGrowthKib = 0
let lives = 0
let stepsOfAll = 0
let heldAtRest = 0
let heldThreads = 0
let memoryAtFirstKib: number | undefined
let bornMs = 0

async function startDevice(): Promise<SoakDevice> {
  const device = await SoakDevice.start(share, state, threads)
  await startThreads(device)
  heldAtRest = await device.fdCountAtRest()
  heldThreads = device.threadCount()
  memoryAtFirstKib = undefined
  bornMs = performance.now()
  lives++
  return device
}

/** Has the device start all of its threads: they stay, with what they hold. */
async function startThreads(device: SoakDevice): Promise<void> {
  const guest = connectGuest(device.socketPath, queues)
  await device.usesThreads(Math.min(threads, queues))
  guest.close()
}

/** Checks that the device, with nobody connected, holds as much as at its start. */
async function lookAtDevice(soak: SoakState): Promise<void> {
  soak.guest.close()
  const held = await soak.device.fdCountAtRest(heldAtRest)
  fdGrowth.push(held - heldAtRest)
  threadGrowth = Math.max(threadGrowth, soak.device.threadCount() - heldThreads)
  const memoryKib = soak.device.memoryKib()
  if (performance.now() - bornMs > WARM_UP_MS) {
    memoryAtFirstKib ??= memoryKib
    memoryGrowthKib = Math.max(memoryGrowthKib, memoryKib - memoryAtFirstKib)
  }
  soak.load.checkOnHost()
  soak.guest = soak.connect()
}

/** Faults keep the queues with one thread. Without them, all threads work, and nothing comes between. */
async function workWithAllThreads(soak: SoakState): Promise<void> {
  await soak.device.ask('fault-clear')
  await soak.device.usesThreads(Math.min(threads, queues))
  for (let n = 0; n < STEPS_OF_ALL; n++) soak.load.step(soak.guest)
  stepsOfAll += STEPS_OF_ALL
}

function report(load: Load, startMs: number): void {
  const total = [...injected.values()].reduce((sum, count) => sum + count, 0)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const gib = (load.verifiedBytes / 2 ** 30).toFixed(2)
  process.stdout.write(
    `${seconds} s: ${load.requests} requests answered, ${total} faults, ${gib} GiB verified, 0 mismatches, ` +
      `${lives} lives of the device, descriptors +${Math.max(0, ...fdGrowth)}, threads +${threadGrowth}, ` +
      `memory +${memoryGrowthKib} KiB${threads > 1 ? `, ${stepsOfAll} steps with all threads` : ''}\n`,
  )
}

async function main(): Promise<void> {
  const names = Object.keys(faults).filter((name) => !(values['no-kill'] && name.startsWith('kill')))
  const device = await startDevice()
  const load = new Load(random, share, queues)
  const soak: SoakState = {
    device,
    guest: connectGuest(device.socketPath, queues),
    load,
    restart: startDevice,
    connect: () => connectGuest(soak.device.socketPath, queues),
  }
  const startMs = performance.now()
  const endMs = startMs + minutes * 60_000
  let reportMs = startMs + REPORT_EVERY_MS
  while (performance.now() < endMs) {
    for (let n = 0; n < STEPS_PER_FAULT; n++) load.step(soak.guest)
    if (random.below(ROUNDS_PER_STEPS_OF_ALL) === 0) await workWithAllThreads(soak)
    const name = random.pick(names)
    // Memory is watched over whole lives of the device, so they have to be long.
    if (!name.startsWith('kill') || random.below(20) === 0) {
      await soak.device.ask('fault-clear')
      await faults[name]?.(soak)
      injected.set(name, (injected.get(name) ?? 0) + 1)
    }
    if (performance.now() < reportMs) continue
    reportMs += REPORT_EVERY_MS
    await soak.device.ask('fault-clear')
    await lookAtDevice(soak)
    report(load, startMs)
  }
  await soak.device.ask('fault-clear')
  await lookAtDevice(soak)
  soak.guest.close()
  await soak.device.stop()
  report(load, startMs)
  for (const [name, count] of [...injected].sort()) process.stdout.write(`  ${count} x ${name}\n`)
  if (Math.max(...fdGrowth) > 0) throw new Error('descriptors are left')
  if (threadGrowth > POOL_THREADS) throw new Error('threads are left')
  if (memoryGrowthKib > NOISE_KIB) throw new Error(`memory has grown by ${memoryGrowthKib} KiB`)
}

process.stdout.write(`soak: ${minutes} minutes, seed ${seed}, ${queues} queues, ${threads} threads\n`)
try {
  if (values.guest === undefined) await main()
  else await soakInGuest({ minutes, seed, kernel: values.guest, queues, threads })
} finally {
  rmSync(state, { recursive: true, force: true })
}
process.exit()
