import { strict as assert } from 'node:assert'
import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ShareUse } from '../../src/passthrough/passthrough-file-system.js'
import { servingPidOf } from '../../vm/device/serving-pid.js'
import type { Guest, RunningCommand } from '../../vm/guest/guest.js'
import { loudMessages } from '../../vm/guest/kernel-log.js'
import { descriptorsOf } from '../../vm/host/descriptors-of.js'
import { type FileLock, freeLocks, makeLocks } from '../../vm/measure/migrations/host-locks.js'
import { privateBytes } from '../../vm/measure/processes.js'
import { DEFAULT_POLICIES, POLICIES } from '../../vm/measure/work/policies.js'
import { ControlClient } from '../support/device/control-client.js'
import { bootWith, type SharedDirectory, serve } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

// This path leads from dist/test/soak back to the sources, because scripts are not copied to dist.
const SCRIPTS = fileURLToPath(new URL('../../../vm/measure/migrations/scripts/', import.meta.url))
const NEEDS = ['--posix-lock', '--flock', '--keep-alive']
/** Each works and verifies until the file of its argument is there. */
const LOADS = ['model', 'verified-io'] as const
/** The last round of a load, on an emulated processor. */
const PATIENCE_MS = 600_000
const KIB = 1024

/** The replacements of one device. */
export interface PolicyReport {
  readonly policy: string
  /** What each new process has logged as its share's pause. */
  readonly pauseMs: readonly number[]
  /** Descriptors and private memory of the process that serves after each replacement. */
  readonly fds: readonly number[]
  readonly memoryKib: readonly number[]
  /** Descriptors that are not the guest's, while nothing in it works, before all that and after it. */
  readonly ownFds: readonly [before: number, after: number]
  /** What the loads have verified. */
  readonly told: readonly string[]
}

/** A device that is replaced again and again, and the work of the guest on its share. */
class ReplacedShare {
  readonly pauseMs: number[] = []
  readonly fds: number[] = []
  readonly memoryKib: number[] = []
  readonly told: string[] = []
  locks: readonly FileLock[] = []
  private loads: readonly RunningCommand[] = []
  private holders: readonly RunningCommand[] = []
  private nameless: RunningCommand | undefined
  private ownBefore = 0

  constructor(
    private readonly t: Test,
    private readonly share: SharedDirectory,
    private readonly controlPath: string,
  ) {}

  get tag(): string {
    return this.share.tag
  }

  /** Begins the work, with a lock of each kind and an open file without a name. */
  async start(guest: Guest): Promise<void> {
    const { path, tag } = this.share
    cpSync(SCRIPTS, join(path, 'scripts'), { recursive: true })
    this.locks = makeLocks(path, `/${tag}`)
    this.ownBefore = await this.ownFds(guest)
    this.holders = this.locks.map(({ holder }) => guest.spawn(holder))
    this.nameless = guest.spawn(`cd /${tag} && exec 9<>gone && rm gone && echo first >&9
      while ! [ -e stop ]; do sleep 0.2; done; echo second >&9; cat /proc/self/fd/9`)
    this.loads = LOADS.map((load) =>
      guest.spawn(`mkdir /${tag}/${load} && cd /${tag}/${load} && sh -eu ../scripts/${load}.sh ../stop 2>&1`),
    )
  }

  /** Has the process replaced by another one. Rejects if that fails. */
  async replace(): Promise<void> {
    const changes = await ControlClient.connect(this.t, `${this.controlPath}.live`)
    await changes.ask('replace')
    changes.socket.destroy()
  }

  /** Records the pause, the descriptors and the memory of the process that serves now. */
  record(): void {
    this.pauseMs.push(this.lastPauseMs)
    this.fds.push(this.fdCount())
    this.memoryKib.push(privateBytes([servingPidOf(this.share.device.pid)]) / KIB)
  }

  /** Ends the work. Throws if a load has found a difference. */
  async finish(guest: Guest): Promise<PolicyReport> {
    const { share, tag, pauseMs, fds, memoryKib, told } = this
    writeFileSync(join(share.path, 'stop'), '')
    const nameless = await this.nameless?.result
    assert.equal(`${nameless?.stdout}`, 'first\nsecond\n', `${tag}: an open file without a name`)
    for (const { result } of this.loads) {
      const { status, stdout } = await result
      assert.equal(status, 0, `${tag}: ${`${stdout}`.slice(-2000)}`)
      told.push(`${stdout}`.trim().split('\n').at(-1) ?? '')
    }
    for (const holder of this.holders) holder.kill(9)
    await guest.output(`sync; rm -r /${tag}/model /${tag}/verified-io`, { timeoutMs: PATIENCE_MS })
    const ownFds = [this.ownBefore, await this.ownFds(guest)] as const
    return { policy: tag, pauseMs, fds, memoryKib, ownFds, told }
  }

  /** Descriptors of a new process, without those of the guest's inodes and files. */
  private async ownFds(guest: Guest): Promise<number> {
    await guest.output('sync; echo 3 > /proc/sys/vm/drop_caches', { timeoutMs: PATIENCE_MS })
    await this.replace()
    const control = await ControlClient.connect(this.t, this.controlPath)
    const { use } = await control.ask<{ use: ShareUse }>('figures')
    const count = this.fdCount()
    control.socket.destroy()
    return count - use.descriptors
  }

  /** Descriptors but io_urings: of these, a process gets as many as the kernel has left for its user. */
  private fdCount(): number {
    const names = descriptorsOf(servingPidOf(this.share.device.pid))
    return names.filter((name) => !name.includes('io_uring')).length
  }

  private get lastPauseMs(): number {
    const pauses = this.share.device.log.flatMap((line) => /"pauseMs":(\d+)/.exec(line)?.[1] ?? [])
    return Number(pauses.at(-1))
  }
}

/**
 * Replaces a device for each cache policy `count` times, one after the other, while a guest verifies what it writes there
 * and holds locks. Throws if the guest notices more than a pause.
 */
export async function replaceInGuest(
  t: Test,
  kernel: string,
  sandbox: string,
  count: number,
  said: (line: string) => void,
): Promise<readonly PolicyReport[]> {
  const place = tempDir(t)
  const shares: SharedDirectory[] = []
  for (const policy of DEFAULT_POLICIES) {
    const args = ['--sandbox', sandbox, '--control-socket', join(place, policy)]
    shares.push(await serve(t, policy, [...POLICIES[policy], ...NEEDS, ...args]))
  }
  const guest = await bootWith(t, shares, { kernel, programs: ['fio'] })
  const replaced = shares.map((share) => new ReplacedShare(t, share, join(place, share.tag)))
  for (const each of replaced) await each.start(guest)
  await sleep(1000)
  for (let n = 1; n <= count; n++) {
    for (const each of replaced) {
      await each.replace()
      each.record()
      said(`${n}, ${each.tag}: ${each.pauseMs.at(-1)} ms`)
    }
    const free = await freeLocks(replaced.flatMap(({ locks }) => locks))
    assert.deepEqual(free, [], 'locks that the host gets')
  }
  const reports: PolicyReport[] = []
  for (const each of replaced) reports.push(await each.finish(guest))
  assert.deepEqual(loudMessages(await guest.kernelLog()), [], "the guest's kernel complains")
  return reports
}
