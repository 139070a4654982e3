/**
 * make soak GUEST=KERNEL: a real guest works on verified files. Its share is unmounted and mounted again, the guest is
 * killed and another one boots, while the device holds, delays and refuses requests at random and is stopped at times.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bootGuest, type Guest } from '../../vm/guest/guest.js'
import { Random } from '../support/random.js'
import { GuestRound, mountShare, TAG, unmountShare } from './guest-load.js'
import { INJECTED } from './load.js'
import { SoakDevice } from './soak-device.js'

const ROUND_SECONDS = 20
const ROUNDS_PER_KILL = 3
const FAULT_EVERY_MS = 700
/** How long a guest works before it is killed: some of the 20 seconds of a round. */
const KILL_AFTER_MS = 5_000
/** After the first rounds the device's heap has its full size; it varies by this much. */
const WARM_UP_ROUNDS = 2
const NOISE_KIB = 32 * 1024

/**
 * Opcodes that the program in the guest can repeat after an error. READ and WRITE are left out: their failure under a
 * mapping is a signal, and under write-back lost data.
 */
const AGAIN = [
  'LOOKUP',
  'OPEN',
  'CREATE',
  'RENAME2',
  'LINK',
  'UNLINK',
  'GETATTR',
  'SETATTR',
  'FSYNC',
  'OPENDIR',
]

type Fault = (device: SoakDevice) => Promise<unknown>
const faults: Readonly<Record<string, Fault>> = {
  'errors injected': (device) =>
    device.ask('fault-add', { opcodes: AGAIN, errno: INJECTED, probability: 0.1, limit: 100 }),
  'a gate for writes': (device) =>
    device.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 3, timeoutMs: 30 }, limit: 60 }),
  'slow reads': (device) =>
    device.ask('fault-add', { opcodes: ['READ'], delay: { uniformMs: [0, 5] }, limit: 100 }),
  'slow answers to everything': (device) =>
    device.ask('fault-add', {
      opcodes: [...AGAIN, 'READ', 'WRITE'],
      delay: { uniformMs: [0, 2] },
      limit: 300,
    }),
  'a device that stands still': async (device) => {
    device.signal('SIGSTOP')
    await sleep(100)
    device.signal('SIGCONT')
  },
}

export interface GuestSoakOptions {
  readonly minutes: number
  readonly seed: number
  readonly kernel: string
  readonly queues: number
  readonly threads: number
}

export async function soakInGuest(options: GuestSoakOptions): Promise<void> {
  const state = mkdtempSync(join(tmpdir(), 'vfs-soak-'))
  const share = join(state, 'share')
  mkdirSync(share)
  const { minutes, seed, kernel, queues, threads } = options
  const device = await SoakDevice.start(share, state, threads)
  const soak = new GuestSoak(device, share, { kernel, queues }, new Random(seed))
  try {
    const endMs = performance.now() + 60_000 * minutes
    for (let number = 1; performance.now() < endMs; number++) await soak.round(number)
    await soak.end()
  } finally {
    await device.stop()
    rmSync(state, { recursive: true, force: true })
  }
}

class GuestSoak {
  private readonly startMs = performance.now()
  private readonly injected = new Map<string, number>()
  private guest: Guest | undefined
  private applied = 0
  private verifiedBytes = 0
  private steps = 0
  private retries = 0
  private mounts = 0
  private lives = 0
  private fdsAtFirst: number | undefined
  private fdGrowth = 0
  private kibAtFirst: number | undefined
  private kibGrowth = 0

  constructor(
    private readonly device: SoakDevice,
    private readonly share: string,
    private readonly machine: { readonly kernel: string; readonly queues: number },
    private readonly random: Random,
  ) {}

  /** Work under faults, a check from both sides, a new mount; at times the guest is killed during its work. */
  async round(number: number): Promise<void> {
    const guest = await this.mountedGuest()
    const round = new GuestRound(guest, number, this.random.below(2 ** 31), ROUND_SECONDS)
    await this.disturbUntil(round.finish())
    this.steps += round.steps
    this.retries += round.retries
    this.verifiedBytes += round.checkOnHost(this.share)
    await unmountShare(guest)
    await this.lookAtDevice(number)
    await this.mount(guest)
    await round.checkInGuest(guest, this.share)
    if (number % ROUNDS_PER_KILL === 0) {
      await this.killInTheMidst(guest)
      this.verifiedBytes += round.checkOnHost(this.share)
    } else await guest.output(`rm -r /soak/${round.directory}`)
    await this.report()
  }

  async end(): Promise<void> {
    await this.guest?.shutdown()
    for (const [name, count] of [...this.injected].sort()) process.stdout.write(`  ${count} x ${name}\n`)
    if (this.fdGrowth > 0) throw new Error(`${this.fdGrowth} descriptors are left`)
    if (this.kibGrowth > NOISE_KIB) throw new Error(`memory has grown by ${this.kibGrowth} KiB`)
  }

  private async mountedGuest(): Promise<Guest> {
    if (this.guest !== undefined) return this.guest
    const { kernel, queues } = this.machine
    const shares = [{ tag: TAG, socketPath: this.device.socketPath, requestQueues: queues }]
    this.guest = await bootGuest({ kernel, shares, cpus: Math.max(2, queues) })
    if (this.lives === 0) process.stdout.write(`Linux ${this.guest.kernelRelease}\n`)
    this.lives++
    await this.mount(this.guest)
    return this.guest
  }

  private async mount(guest: Guest): Promise<void> {
    await mountShare(guest)
    this.mounts++
  }

  /** Injects faults, one after the other, until the work is done. Counts those that were met, and removes each. */
  private async disturbUntil(work: Promise<void>): Promise<void> {
    let working = true
    const done = work.finally(() => {
      working = false
    })
    done.catch(() => {})
    while (working) {
      const name = this.random.pick(Object.keys(faults))
      if (this.random.below(3) === 0) await this.clearFaults()
      await faults[name]?.(this.device)
      this.injected.set(name, (this.injected.get(name) ?? 0) + 1)
      await Promise.race([sleep(FAULT_EVERY_MS), done.catch(() => {})])
    }
    await this.clearFaults()
    await done
  }

  private async clearFaults(): Promise<void> {
    const list = await this.device.ask<{ applied: number }[]>('fault-list')
    this.applied += list.reduce((sum, { applied }) => sum + applied, 0)
    await this.device.ask('fault-clear')
  }

  private async killInTheMidst(guest: Guest): Promise<void> {
    guest.spawn(`file-soak /soak/killed-${this.lives} 1 3 ${ROUND_SECONDS}`)
    await sleep(KILL_AFTER_MS)
    process.kill(guest.qemuPid, 'SIGKILL')
    await guest.exited
    this.guest = undefined
    await this.device.fdCountAtRest()
  }

  /** Checks that the device, with nothing mounted, holds as much as at its start. */
  private async lookAtDevice(number: number): Promise<void> {
    const fds = this.device.fdCount()
    this.fdsAtFirst ??= fds
    this.fdGrowth = Math.max(this.fdGrowth, fds - this.fdsAtFirst)
    const kib = this.device.memoryKib()
    if (number < WARM_UP_ROUNDS) return
    this.kibAtFirst ??= kib
    this.kibGrowth = Math.max(this.kibGrowth, kib - this.kibAtFirst)
  }

  private async report(): Promise<void> {
    const seconds = Math.round((performance.now() - this.startMs) / 1000)
    const mib = Math.round(this.verifiedBytes / 2 ** 20)
    process.stdout.write(
      `${seconds} s: ${await this.device.requests()} requests served, ${this.applied} of them held, delayed or refused, ` +
        `${this.steps} steps in the guest, ${this.retries} made again, ${mib} MiB compared on the host, 0 mismatches, ` +
        `${this.mounts} mounts, ${this.lives} guests, descriptors +${this.fdGrowth}, memory +${this.kibGrowth} KiB\n`,
    )
  }
}
