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
const REPORT_EVERY_MS = 30_000
/** After this part of a device's life its memory has its full size. */
const WARM_UP_MS = 60_000
/** The heap varies by this much. More than that, and growing, is a leak. */
const NOISE_KIB = 32 * 1024

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    hours: { type: 'string' },
    /** A kernel: the load runs in a guest with it, not through a front-end. */
    guest: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    /** One process lives through all of it. */
    'no-kill': { type: 'boolean', default: false },
  },
})
const minutes =
  values.hours === undefined ? Number(values.minutes ?? DEFAULT_MINUTES) : Number(values.hours) * 60
const seed = Number(values.seed)
if (!(minutes > 0) || !Number.isInteger(seed))
  throw new Error('minutes and hours are positive, the seed is a whole number')

const state = mkdtempSync(join(tmpdir(), 'vfs-soak-'))
const share = join(state, 'share')
mkdirSync(share)
const random = new Random(seed)
const injected = new Map<string, number>()
const fdGrowth: number[] = []
let memoryGrowthKib = 0
let lives = 0
let heldAtRest = 0
let memoryAtFirstKib: number | undefined
let bornMs = 0

async function startDevice(): Promise<SoakDevice> {
  const device = await SoakDevice.start(share, state)
  heldAtRest = await device.fdCountAtRest()
  memoryAtFirstKib = undefined
  bornMs = performance.now()
  lives++
  return device
}

/** Checks that the device, with nobody connected, holds as much as at its start. */
async function lookAtDevice(soak: SoakState): Promise<void> {
  soak.guest.close()
  const held = await soak.device.fdCountAtRest(heldAtRest)
  fdGrowth.push(held - heldAtRest)
  const memoryKib = soak.device.memoryKib()
  if (performance.now() - bornMs > WARM_UP_MS) {
    memoryAtFirstKib ??= memoryKib
    memoryGrowthKib = Math.max(memoryGrowthKib, memoryKib - memoryAtFirstKib)
  }
  soak.load.checkOnHost()
  soak.guest = connectGuest(soak.device.socketPath)
}

function report(load: Load, startMs: number): void {
  const total = [...injected.values()].reduce((sum, count) => sum + count, 0)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const gib = (load.verifiedBytes / 2 ** 30).toFixed(2)
  process.stdout.write(
    `${seconds} s: ${load.requests} requests answered, ${total} faults, ${gib} GiB verified, 0 mismatches, ` +
      `${lives} lives of the device, descriptors +${Math.max(0, ...fdGrowth)}, memory +${memoryGrowthKib} KiB\n`,
  )
}

async function main(): Promise<void> {
  const names = Object.keys(faults).filter((name) => !(values['no-kill'] && name.startsWith('kill')))
  const device = await startDevice()
  const load = new Load(random, share)
  const soak: SoakState = { device, guest: connectGuest(device.socketPath), load, restart: startDevice }
  const startMs = performance.now()
  const endMs = startMs + minutes * 60_000
  let reportMs = startMs + REPORT_EVERY_MS
  while (performance.now() < endMs) {
    for (let n = 0; n < STEPS_PER_FAULT; n++) load.step(soak.guest)
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
  if (memoryGrowthKib > NOISE_KIB) throw new Error(`memory has grown by ${memoryGrowthKib} KiB`)
}

process.stdout.write(`soak: ${minutes} minutes, seed ${seed}\n`)
try {
  if (values.guest === undefined) await main()
  else await soakInGuest({ minutes, seed, kernel: values.guest })
} finally {
  rmSync(state, { recursive: true, force: true })
}
process.exit()
