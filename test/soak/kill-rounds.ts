/**
 * Signals at random moments of a start, a reload, a change, a replacement and a stop; then looks for what is left on the host. A round
 * is one process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { textOf } from '../../vm/host/text-of.js'
import { processesOf } from '../support/host/processes.js'
import type { Random } from '../support/random.js'

const PROGRAM = fileURLToPath(new URL('../../program/main.js', import.meta.url))
/** A start, a reload or a change takes about as long; a replacement twice as long. */
const SPREAD_MS = 600
/** Two signals that meet. */
const SOON_MS = 30
/** Only a hang takes so long. */
const HANG_MS = 30_000
const POLL_MS = 10

const phases = ['start', 'reload', 'share-add', 'share-remove', 'replace', 'stop'] as const
const victims = ['started', 'serving', 'broker', 'helper'] as const
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGKILL'] as const

/** What one round does; a seed gives the same plans again. */
export interface Plan {
  readonly sandbox: 'none' | 'namespace' | 'chroot'
  readonly phase: (typeof phases)[number]
  readonly victim: (typeof victims)[number]
  readonly signal: (typeof signals)[number]
  /** From the beginning of the phase to the signal. */
  readonly afterMs: number
  /** Without a configuration file and a control socket there is no broker; only a start can be tried so. */
  readonly changeable: boolean
}

export function randomPlan(random: Random, sandboxes: readonly Plan['sandbox'][]): Plan {
  const phase = random.pick(phases)
  return {
    sandbox: random.pick(sandboxes),
    phase,
    victim: random.pick(victims),
    signal: random.pick(signals),
    afterMs: random.below(phase === 'stop' ? SOON_MS : phase === 'replace' ? 2 * SPREAD_MS : SPREAD_MS),
    changeable: !(phase === 'start' || phase === 'stop') || random.below(2) === 0,
  }
}

/** Carries out a plan. Returns what is wrong afterwards; nothing should be. */
export async function killRound(plan: Plan): Promise<readonly string[]> {
  const round = new Round(plan)
  try {
    return await round.run()
  } finally {
    round.remove()
  }
}

class Round {
  private readonly place = mkdtempSync(join(tmpdir(), 'vfs-kill-'))
  private readonly config = join(this.place, 'shares.toml')
  private readonly runDir = join(this.place, 'run')

  constructor(private readonly plan: Plan) {
    for (const name of ['run', 'a', 'b', 'c']) mkdirSync(join(this.place, name))
    this.describe('a')
  }

  async run(): Promise<readonly string[]> {
    const { plan } = this
    const started = this.start()
    if (plan.phase !== 'start') await started.serves()
    this.begin(started)
    await sleep(plan.afterMs)
    for (const pid of this.victims(started.pid)) signalIfAlive(pid, plan.signal)
    // The victim was another process, or a signal that ends nothing.
    await sleep(SOON_MS)
    started.kill('SIGTERM')
    const faults = [...(await started.ended()), ...(await this.left())]
    return faults.length > 0 ? faults : this.startsAgain()
  }

  remove(): void {
    rmSync(this.place, { recursive: true, force: true })
  }

  /** With --sandbox chroot a process starts with one share. */
  private get further(): readonly string[] {
    return this.plan.sandbox === 'chroot' ? [] : ['c']
  }

  private describe(...names: readonly string[]): void {
    const share = (name: string) =>
      `[[share]]\ntag = "${name}"\npath = "${this.place}/${name}"\nsocket = "${this.runDir}/${name}.sock"\n`
    writeFileSync(this.config, names.map(share).join(''))
  }

  private start(): Started {
    const { sandbox, changeable } = this.plan
    const share = ['--shared-dir', join(this.place, 'a'), '--socket-path', join(this.runDir, 'a.sock')]
    const more = ['--config', this.config, '--control-socket', join(this.runDir, 'control')]
    return new Started(['--keep-alive', '--sandbox', sandbox, ...(changeable ? more : share)])
  }

  /** Begins what the signal interrupts. */
  private begin(started: Started): void {
    switch (this.plan.phase) {
      case 'start':
        break
      case 'reload':
        this.describe('b', ...this.further)
        started.kill('SIGHUP')
        break
      case 'share-add':
        this.ask('share-add', `tag=c,path=${this.place}/c,socket=${this.runDir}/c.sock`)
        break
      case 'share-remove':
        this.ask('share-remove', 'a')
        break
      case 'replace':
        this.ask('replace')
        break
      case 'stop':
        started.kill('SIGTERM')
    }
  }

  /** Sends a request to the socket of changes, and waits for no answer. */
  private ask(command: string, argument?: string): void {
    const socket = connect(join(this.runDir, 'control.live'))
    socket.on('error', () => {})
    socket.write(`${JSON.stringify({ command, argument })}\n`)
    setTimeout(() => socket.destroy(), SPREAD_MS).unref()
  }

  private victims(startedPid: number): readonly number[] {
    const { victim } = this.plan
    if (victim === 'started') return [startedPid]
    return processesOf(this.place).filter((pid) => {
      const words = textOf(`/proc/${pid}/cmdline`)
      if (!words.startsWith(process.execPath)) return victim === 'broker' && pid !== startedPid
      return words.includes('/helper.js\0') ? victim === 'helper' : victim === 'serving' && pid !== startedPid
    })
  }

  /** Returns what is left after everything has had time to end. */
  private async left(): Promise<readonly string[]> {
    const endMs = performance.now() + HANG_MS
    for (;;) {
      const left = [
        ...processesOf(this.place).map((pid) => `process ${pid} ${textOf(`/proc/${pid}/cmdline`)}`),
        ...textOf('/proc/self/mountinfo')
          .split('\n')
          .filter((line) => line.includes(this.place)),
        ...(this.mayLeaveFiles ? [] : readdirSync(this.runDir)),
      ]
      if (left.length === 0 || performance.now() > endMs) return left
      await sleep(POLL_MS)
    }
  }

  /** After SIGKILL of the process that removes the files they stay: no other process knows of them. */
  private get mayLeaveFiles(): boolean {
    const { signal, victim, phase, changeable } = this.plan
    return signal === 'SIGKILL' && (victim === 'broker' || !changeable || phase === 'start')
  }

  /** Starts it again, whatever was left at its places: that is gone afterwards. */
  private async startsAgain(): Promise<readonly string[]> {
    this.describe('a', ...this.further)
    const again = this.start()
    await again.serves()
    again.kill('SIGTERM')
    const faults = await again.ended()
    const own = this.plan.changeable ? ['control', 'a.', ...this.further.map((name) => `${name}.`)] : ['a.']
    const isOwn = (file: string) => own.some((name) => file.startsWith(name))
    return [...faults, ...readdirSync(this.runDir).filter(isOwn)]
  }
}

/** A process of the program. */
class Started {
  private said = ''
  private readonly child: ChildProcess
  private readonly over: Promise<void>

  constructor(args: readonly string[]) {
    const { PATH } = process.env
    this.child = spawn(process.execPath, [PROGRAM, ...args], {
      env: { PATH },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.said += text
      })
    // Resolves only when every process that has inherited its pipes has closed them.
    this.over = new Promise((resolve) => this.child.once('close', () => resolve()))
  }

  get pid(): number {
    return this.child.pid as number
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Resolves when it serves. Throws if it does not. */
  async serves(): Promise<void> {
    const endMs = performance.now() + HANG_MS
    while (!this.said.includes('"ready')) {
      if (this.child.exitCode !== null || performance.now() > endMs)
        throw new Error(`it does not serve:\n${this.said}`)
      await sleep(POLL_MS)
    }
  }

  /** Resolves to nothing when it has ended, or to what it said if it does not end. */
  async ended(): Promise<readonly string[]> {
    const late = sleep(HANG_MS, 'late' as const, { ref: false })
    if ((await Promise.race([this.over, late])) !== 'late') return []
    this.kill('SIGKILL')
    return [`it does not end, having said:\n${this.said}`]
  }
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself.
  }
}
