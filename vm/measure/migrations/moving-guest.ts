import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { MigrationMode } from '../../../src/passthrough/state/options.js'
import {
  DEBIAN_OPTIONS,
  DEBIAN_TAG,
  debianCommand,
  enterDebianRoot,
  fetchDebianRoot,
} from '../../device/debian-root.js'
import { bootGuest, type CommandResult, type Guest, type RunningCommand } from '../../guest/guest.js'
import { stacksOf } from '../../guest/hung-guest.js'
import { loudMessages } from '../../guest/kernel-log.js'
import { whenLate } from '../../host/patience.js'
import { POLICIES, type PolicyName } from '../work/policies.js'
import { type FileLock, freeLocks, makeLocks } from './host-locks.js'
import { SharePair } from './share-pair.js'

// This path leads from dist/vm/measure/migrations back to the sources, because scripts are not copied to dist.
const SCRIPTS = fileURLToPath(new URL('../../../../vm/measure/migrations/scripts/', import.meta.url))
const MEMORY_MIB = 1_024
const BOOT_MS = 300_000
/** The last steps of a guest can take long on an emulated processor. */
const PATIENCE_MS = 300_000
/** It has so long so many times. */
const MOST_WAITS = 6
/** Work between two migrations. */
const WORK_MS = 1_000
/** The time until a line of a device's log has been read here. */
const LOG_MS = 1_000
/** A guest that has an open file without a name cannot move by paths. */
const MOST_TRIES = 5
/** The level of usual lines in a device's log. */
const INFO = 30
const SHARES = '/shares'
const NEEDS = ['--flock', '--posix-lock']

/** A script that works and verifies until a file `stop` is there; `debian` if it needs the Debian system. */
interface Load {
  readonly name: string
  readonly command: string
  readonly debian: boolean
}

const loads: readonly Load[] = [
  { name: 'fio', command: 'sh -eux ../scripts/verified-io.sh', debian: false },
  { name: 'model', command: 'sh -eux ../scripts/model.sh', debian: false },
  { name: 'git', command: 'bash -eux -o pipefail ../scripts/clones.sh', debian: true },
  { name: 'sqlite', command: 'python3 ../scripts/database.py', debian: true },
]

interface RunningLoad {
  readonly what: string
  readonly command: RunningCommand
}

export interface MovingGuestOptions {
  readonly policies: readonly PolicyName[]
  readonly kernel: string
  readonly qemu: string
  /** As --migration-mode. */
  readonly mode: MigrationMode
}

/** A guest at work on a share for each cache policy, each of which two devices serve. */
export class MovingGuest {
  private readonly loads: RunningLoad[] = []
  /** Migrations that were refused because a file without a name was open, and tried again. */
  refusals = 0
  /** Set when a load has ended before it was told to. */
  private fault: Error | undefined
  private isEnding = false

  private constructor(
    readonly guest: Guest,
    private readonly shares: readonly SharePair[],
    private readonly root: SharePair,
    private readonly qemu: string,
    private readonly locks: readonly FileLock[],
  ) {}

  static async boot({ policies, kernel, qemu, mode }: MovingGuestOptions): Promise<MovingGuest> {
    const shares: SharePair[] = []
    const locks: FileLock[] = []
    for (const policy of policies) {
      const share = await SharePair.start(policy, [...POLICIES[policy], ...NEEDS, '--migration-mode', mode])
      cpSync(SCRIPTS, join(share.path, 'scripts'), { recursive: true })
      locks.push(...makeLocks(share.path, `${SHARES}/${share.tag}`))
      shares.push(share)
    }
    const root = await SharePair.start(DEBIAN_TAG, DEBIAN_OPTIONS, await fetchDebianRoot())
    const guest = await bootGuest({
      kernel,
      qemu,
      shares: [...shares, root].map(({ tag, socketPath }) => ({ tag, socketPath })),
      memoryMiB: MEMORY_MIB,
      programs: ['fio'],
      bootTimeoutMs: BOOT_MS,
    })
    for (const { tag } of shares) await guest.mount(tag, `${SHARES}/${tag}`)
    await enterDebianRoot(guest, root.tag, SHARES)
    return new MovingGuest(guest, shares, root, qemu, locks)
  }

  /** Takes the locks and starts the work on every share. */
  start(): void {
    for (const { holder } of this.locks) this.watch(holder, holder)
    for (const { tag } of this.shares) {
      const here = `${SHARES}/${tag}`
      for (const { name, command, debian } of loads) {
        const place = debian ? `/mnt/${tag}` : here
        const script = `mkdir -p ${place}/${name} && cd ${place}/${name} && ${command} ${place}/stop 2>&1`
        const what = `${tag}: ${name}`
        this.loads.push({ what, command: this.watch(what, debian ? debianCommand(script) : script) })
      }
    }
  }

  /**
   * Moves the guest to the other devices. Resolves to the milliseconds between stop and go, once every lock is held again
   * and nothing is left over at the source. Rejects otherwise, and if a load has found a fault.
   */
  async move(): Promise<number> {
    await sleep(WORK_MS)
    this.expectNoFault()
    const pairs = [...this.shares, this.root]
    const downtimeMs = await this.migrate(pairs)
    for (const pair of pairs) pair.turn()
    for (const pair of pairs)
      await untilNothing(`${pair.tag}: left over at the source`, () => pair.leftOver())
    await untilNothing('locks that the host can take', async () => {
      return (await freeLocks(this.locks)).map(({ path }) => path)
    })
    this.expectNoFault()
    return downtimeMs
  }

  /** Migrates the guest. What is refused because of a file without a name is tried again: soon it is closed. */
  private async migrate(pairs: readonly SharePair[]): Promise<number> {
    const sockets = pairs.map(({ nextSocketPath }) => nextSocketPath)
    for (let n = 1; ; n++) {
      const before = pairs.map(({ log }) => log.length)
      try {
        return (await this.guest.migrate(sockets, this.qemu)).downtimeMs
      } catch (error) {
        // The reason is in the log of a device, and comes by a pipe of its own.
        await sleep(LOG_MS)
        const reasons = pairs.flatMap(({ log }, i) => log.slice(before[i]).filter(isWarning))
        const isNameless = reasons.some((line) => line.includes('inodes without a name'))
        if (!isNameless || n === MOST_TRIES) throw new Error([`${error}`, ...reasons].join('\n'))
        this.refusals++
      }
    }
  }

  /** Ends the work. Returns what each load has done. Rejects if one found a fault, or the guest's kernel complains. */
  async finish(): Promise<string[]> {
    this.isEnding = true
    for (const { tag } of this.shares) await this.guest.output(`touch ${SHARES}/${tag}/stop`)
    const told: string[] = []
    for (const { what, command } of this.loads) {
      const { status, stdout } = await this.endOf(what, command)
      if (status !== 0) throw new Error(`${what} ended with ${status}:\n${stdout.toString().slice(-2000)}`)
      told.push(`${what}: ${stdout.toString().trim().split('\n').at(-1)}`)
    }
    await this.guest.output('sync', { timeoutMs: PATIENCE_MS })
    const loud = loudMessages(await this.guest.kernelLog())
    if (loud.length > 0) throw new Error(`the guest's kernel complains:\n${loud.join('\n')}`)
    return told
  }

  async stop(): Promise<void> {
    this.isEnding = true
    await this.guest.kill()
    for (const pair of [...this.shares, this.root]) await pair.stop()
  }

  private watch(what: string, script: string): RunningCommand {
    const command = this.guest.spawn(script)
    command.result.then(
      ({ status, stdout, stderr }) => {
        if (this.isEnding) return
        this.fault ??= new Error(`${what} ended with ${status}:\n${`${stdout}${stderr}`.slice(-2000)}`)
      },
      (error) => {
        this.fault ??= error
      },
    )
    return command
  }

  /**
   * Resolves to the result of a command that is about to end. A slow guest has time as long as it asks its shares for
   * something. Rejects with the guest's waiting tasks if it does not.
   */
  private async endOf(what: string, { result }: RunningCommand): Promise<CommandResult> {
    for (let n = 0; n < MOST_WAITS; n++) {
      const before = await this.requestCount()
      const ended = await this.inTime(result)
      if (ended !== undefined) return ended
      if ((await this.requestCount()) === before) break
    }
    throw new Error([`${what} does not end`, ...(await stacksOf(this.guest))].join('\n'))
  }

  /** Resolves to undefined if a command does not end within PATIENCE_MS. */
  private inTime(result: Promise<CommandResult>): Promise<CommandResult | undefined> {
    return new Promise((resolve, reject) => {
      const callOff = whenLate(this.guest.qemuPid, PATIENCE_MS, () => resolve(undefined))
      result.finally(callOff).then(resolve, reject)
    })
  }

  /** The number of requests that the guest's devices have had. */
  private async requestCount(): Promise<number> {
    let count = 0
    for (const pair of [...this.shares, this.root]) count += await pair.requestCount()
    return count
  }

  private expectNoFault(): void {
    if (this.fault !== undefined) throw this.fault
  }
}

/** Returns true for a line of a device's log that tells of more than usual. */
function isWarning(line: string): boolean {
  if (!line.startsWith('{')) return true
  const { level } = JSON.parse(line) as { level: number }
  return level > INFO
}

/** Waits until `find` returns nothing. Rejects after a minute, with what it found last. */
async function untilNothing(what: string, find: () => Promise<readonly string[]>): Promise<void> {
  const endMs = performance.now() + 60_000
  for (;;) {
    const found = await find()
    if (found.length === 0) return
    if (performance.now() > endMs) throw new Error(`${what}: ${found.join(', ')}`)
    await sleep(50)
  }
}
