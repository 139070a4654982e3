/** make bench-replace: processes replace each other COUNT times while a guest works, and what that costs it. */
import { parseArgs } from 'node:util'
import type { Test } from 'tap'
import { LiveDevice } from '../support/device/live-device.js'
import { mount } from '../support/fuse/mount.js'
import { replaceUnderLoad } from './replace-load.js'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '200' },
    sandbox: { type: 'string', default: 'namespace' },
  },
})
const ends: (() => unknown)[] = []
// The test helpers need an object for teardowns and assertions.
const t = {
  teardown: (end: () => unknown) => ends.push(end),
  fail: (message: string) => {
    throw new Error(message)
  },
} as unknown as Test

const sandbox = values.sandbox === 'none' ? 'none' : 'namespace'
const live = await LiveDevice.start(t, [], { sandbox })
const fs = mount(t, live.device)
try {
  const { requests, longestMs, pauseMs, fds, memoryKib } = await replaceUnderLoad(
    live,
    fs,
    Number(values.count),
    (line) => process.stderr.write(`${line}\n`),
  )
  const spread = (list: readonly number[]) => {
    const sorted = [...list].sort((a, b) => a - b)
    const at = (part: number) => sorted[Math.floor(part * (sorted.length - 1))]?.toFixed(0)
    return `${at(0)} to ${at(1)}, median ${at(0.5)}`
  }
  const ends = (list: readonly number[]) =>
    `${spread(list)}; in turn ${list.slice(0, 5).join(' ')} ... ${list.slice(-5).join(' ')}`
  process.stdout.write(`${values.count} processes replaced each other, --sandbox ${sandbox}
  requests, each answered once and without an error: ${requests}
  pause as the new process says, in ms: ${spread(pauseMs)}
  longest request between two replacements, in ms: ${spread(longestMs)}
  descriptors of each process: ${ends(fds)}
  private memory of each process, in KiB: ${ends(memoryKib)}
`)
} finally {
  for (const end of ends.reverse()) await end()
}
process.exit()
