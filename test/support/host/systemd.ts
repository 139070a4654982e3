import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { sleep } from '../device/device.js'
import type { FreshRoot } from './fresh-root.js'

const BOOT = fileURLToPath(new URL('../../../../test/support/host/boot-systemd.sh', import.meta.url))
const TIMEOUT_MS = 120_000

/** A system run by systemd, in namespaces and a control group of its own, until the test ends. */
export class Systemd {
  private constructor(
    /** The id of its process 1, as this test sees it. */
    readonly pid: number,
  ) {}

  static async boot(t: Test, root: FreshRoot): Promise<Systemd> {
    const booted = spawn(BOOT, [root.path, `virtiofsd-ts-test-${process.pid}`], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    const ended = new Promise((resolve) => booted.on('exit', resolve))
    t.teardown(async () => {
      booted.stdin.end()
      await ended
    })
    const endMs = performance.now() + TIMEOUT_MS
    for (;;) {
      const pid = initOf(booted.pid as number)
      if (pid !== undefined) {
        const systemd = new Systemd(pid)
        const state = systemd.try('systemctl', 'is-system-running')
        if (/^(running|degraded)/.test(state)) return systemd
      }
      if (performance.now() > endMs) throw new Error('systemd does not start')
      await sleep(200)
    }
  }

  /** Returns a path inside as this test can open it. */
  path(inside: string): string {
    return `/proc/${this.pid}/root${inside}`
  }

  /** Runs a command inside. Returns its output. Throws if it fails. */
  run(...command: readonly string[]): string {
    const words = ['-t', `${this.pid}`, '-a', '-r', '-w', ...command]
    return execFileSync('nsenter', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  }

  /** Runs a command that may fail. */
  try(...command: readonly string[]): string {
    try {
      return this.run(...command)
    } catch (error) {
      return String((error as { stdout?: string }).stdout ?? '').trim()
    }
  }

  /** Waits until a property of a unit has a value. */
  async reaches(unit: string, property: string, wanted: string): Promise<void> {
    const endMs = performance.now() + TIMEOUT_MS
    while (this.property(unit, property) !== wanted) {
      if (performance.now() > endMs)
        throw new Error(`${unit}: ${this.try('systemctl', 'status', '--no-pager', unit)}`)
      await sleep(100)
    }
  }

  property(unit: string, property: string): string {
    return this.run('systemctl', 'show', '--value', '--property', property, unit)
  }
}

/** Returns the process id of systemd below the script, whose unshare has one child. */
function initOf(script: number): number | undefined {
  const unshared = childrenOf(script).find((pid) => nameOf(pid) === 'unshare')
  const init = unshared === undefined ? undefined : childrenOf(unshared)[0]
  return init !== undefined && nameOf(init) === 'systemd' ? init : undefined
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
  } catch {
    return []
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}
