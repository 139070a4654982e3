import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { CachedGuest } from '../../vm/measure/migrations/cached-guest.js'
import { peakResidentBytes, wholeCpuUs } from '../../vm/measure/processes.js'
import { LiveDevice } from '../support/device/live-device.js'
import { tempDir } from '../support/host/temp-dir.js'

const FILES_PER_DIRECTORY = 1000
const LOOK_EVERY_MS = 5

/** One replacement while the guest knows many inodes. */
export interface InodesReport {
  /** As the new process has logged it. */
  readonly pauseMs: number
  /** Processor time of the old process while it was replaced, and of the new one from its start on. */
  readonly oldCpuMs: number
  readonly newCpuMs: number
  /** The most memory that each has had. */
  readonly oldPeakBytes: number
  readonly newPeakBytes: number
}

/** Replaces a device `count` times whose guest has looked at `inodes` files, and does nothing else. */
export async function replaceWithInodes(
  t: Test,
  sandbox: 'none' | 'namespace',
  inodes: number,
  count: number,
): Promise<readonly InodesReport[]> {
  const directory = tempDir(t)
  for (let n = 0; n < inodes; n++) {
    const parent = join(directory, `directory-${Math.floor(n / FILES_PER_DIRECTORY)}`)
    if (n % FILES_PER_DIRECTORY === 0) mkdirSync(parent)
    writeFileSync(join(parent, `file-${n}`), '')
  }
  const live = await LiveDevice.start(t, [], { sandbox, directory })
  const guest = new CachedGuest(live.device.socketPath)
  guest.lookAtEverything()
  if (guest.inodes < inodes) throw new Error(`the guest knows ${guest.inodes} inodes instead of ${inodes}`)
  const reports: InodesReport[] = []
  for (let n = 0; n < count; n++) reports.push(await replaceOnce(live, guest))
  guest.close()
  return reports
}

async function replaceOnce(live: LiveDevice, guest: CachedGuest): Promise<InodesReport> {
  const old = live.device.pid
  const beforeMs = spentMs(old)
  let [oldMs, oldPeakBytes] = [beforeMs, 0]
  let isReplaced = false
  const replaced = live.replace().finally(() => {
    isReplaced = true
  })
  while (!isReplaced) {
    oldMs = Math.max(oldMs, spentMs(old))
    oldPeakBytes = Math.max(oldPeakBytes, peakResidentBytes([old]))
    await sleep(LOOK_EVERY_MS)
  }
  await replaced
  guest.lookAtSome()
  const { pid } = live.device
  const pauses = live.device.logs().flatMap(({ pauseMs }) => pauseMs ?? [])
  return {
    pauseMs: pauses.at(-1) ?? Number.NaN,
    oldCpuMs: oldMs - beforeMs,
    newCpuMs: spentMs(pid),
    oldPeakBytes,
    newPeakBytes: peakResidentBytes([pid]),
  }
}

/** Returns 0 for a process that has ended. */
function spentMs(pid: number): number {
  return wholeCpuUs([pid]) / 1000 || 0
}
