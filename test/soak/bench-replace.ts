/**
 * make bench-replace: processes replace each other COUNT times while a guest works, and what that costs it. GUEST=KERNEL: a
 * real guest, which works on a share for each cache policy; each device is replaced COUNT times. INODES=N: a guest that has
 * looked at so many files, beside one that has looked at none.
 */
import { parseArgs } from 'node:util'
import type { Test } from 'tap'
import { median } from '../../vm/measure/statistics.js'
import { LiveDevice } from '../support/device/live-device.js'
import { mount } from '../support/fuse/mount.js'
import { replaceInGuest } from './replace-guest.js'
import { type InodesReport, replaceWithInodes } from './replace-inodes.js'
import { replaceUnderLoad } from './replace-load.js'

/** The memory of a process varies by this much with what its guest does just then. */
const NOISE_KIB = 8 * 1024
const MIB = 1024 * 1024

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '200' },
    sandbox: { type: 'string', default: 'namespace' },
    /** A kernel: the load runs in a guest with it, not through a front-end. */
    guest: { type: 'string' },
    /** So many files are in the cache of a guest that does nothing. */
    inodes: { type: 'string' },
  },
})
const ends: (() => unknown)[] = []
const said = (line: string) => process.stderr.write(`${line}\n`)
// The test helpers need an object for teardowns and assertions.
const t = {
  teardown: (end: () => unknown) => ends.push(end),
  comment: said,
  fail: (message: string) => {
    throw new Error(message)
  },
} as unknown as Test

const count = Number(values.count)
const sandbox = values.sandbox === 'none' ? 'none' : 'namespace'

/** `least to most, median`. */
function spread(list: readonly number[]): string {
  const [least, middle, most] = [Math.min(...list), median(list), Math.max(...list)].map((n) => n.toFixed(0))
  return `${least} to ${most}, median ${middle}`
}

/** The spread, and the first and last values in their order. */
function course(list: readonly number[]): string {
  return `${spread(list)}; in turn ${list.slice(0, 5).join(' ')} ... ${list.slice(-5).join(' ')}`
}

async function withFrontend(): Promise<void> {
  const live = await LiveDevice.start(t, [], { sandbox })
  const fs = mount(t, live.device)
  const { requests, longestMs, pauseMs, fds, memoryKib } = await replaceUnderLoad(live, fs, count, said)
  process.stdout.write(`${count} processes replaced each other, --sandbox ${sandbox}
  requests, each answered once and without an error: ${requests}
  pause as the new process says, in ms: ${spread(pauseMs)}
  longest request between two replacements, in ms: ${spread(longestMs)}
  descriptors of each process: ${course(fds)}
  private memory of each process, in KiB: ${course(memoryKib)}
`)
}

async function inGuest(kernel: string): Promise<void> {
  const reports = await replaceInGuest(t, kernel, sandbox, count, said)
  process.stdout.write(
    `Linux ${kernel}, --sandbox ${sandbox}: ${reports.length} devices, each replaced ${count} times, no fault\n`,
  )
  for (const { policy, pauseMs, fds, memoryKib, ownFds, told } of reports) {
    process.stdout.write(`${policy}
  verified: ${told.join(', ')}
  pause as the new process says, in ms: ${spread(pauseMs)}
  descriptors of each process: ${spread(fds)}; those that are not the guest's, before and after: ${ownFds.join(' ')}
  private memory of each process, in KiB: ${course(memoryKib)}
`)
  }
  for (const { policy, memoryKib, ownFds } of reports) {
    if (ownFds[1] > ownFds[0]) throw new Error(`${policy}: ${ownFds[1] - ownFds[0]} descriptors are left`)
    const growthKib = (memoryKib.at(-1) ?? 0) - (memoryKib[0] ?? 0)
    if (growthKib > NOISE_KIB) throw new Error(`${policy}: memory has grown by ${growthKib} KiB`)
  }
}

async function withInodes(inodes: number): Promise<void> {
  for (const known of [0, inodes]) {
    const rounds = await replaceWithInodes(t, sandbox, known, count)
    const of = (figure: (round: InodesReport) => number) => spread(rounds.map(figure))
    process.stdout.write(`${known} files in the guest's cache, --sandbox ${sandbox}, ${count} replacements
  pause as the new process says, in ms: ${of(({ pauseMs }) => pauseMs)}
  processor time of the old process meanwhile, in ms: ${of(({ oldCpuMs }) => oldCpuMs)}
  processor time of the new process from its start on, in ms: ${of(({ newCpuMs }) => newCpuMs)}
  most memory of the old process, in MiB: ${of(({ oldPeakBytes }) => oldPeakBytes / MIB)}
  most memory of the new process, in MiB: ${of(({ newPeakBytes }) => newPeakBytes / MIB)}
`)
  }
}

try {
  if (values.inodes !== undefined) await withInodes(Number(values.inodes))
  else await (values.guest === undefined ? withFrontend() : inGuest(values.guest))
} finally {
  for (const end of ends.reverse()) await end()
}
process.exit()
