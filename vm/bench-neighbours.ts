/** `make bench-neighbours`: what a guest that floods its share does to the latency of another share of the same process. */
import { join } from 'node:path'
import { DeviceProcess, waitUntilListening } from './device/device-process.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { makeBenchShare, SHARE_PATHS } from './measure/bench-device/bench-share.js'
import { type Job, LoadGenerator } from './measure/bench-device/load-generator.js'
import { median } from './measure/bench-device/statistics.js'

const RUN_MS = 1500
const WARM_UP_MS = 300
const ROUNDS = 5
/** A flood runs longer than what is measured beside it. */
const FLOOD_MS = RUN_MS + 3 * WARM_UP_MS

const victims: Readonly<Record<string, Job>> = {
  getattr: { workload: 'getattr', depth: 1 },
  'read 4k': { workload: 'read-random', bytes: 4096, depth: 1 },
}
const floods: Readonly<Record<string, Job>> = {
  'getattr, 32 deep': { workload: 'getattr', depth: 32 },
  'read 4k, 32 deep': { workload: 'read-random', bytes: 4096, depth: 32 },
  'write 4k, 32 deep': { workload: 'write-random', bytes: 4096, depth: 32 },
}

const dir = makeTemporaryDir()
const share = makeBenchShare(SHARE_PATHS.memory)
const other = makeBenchShare(`${SHARE_PATHS.memory}-neighbour`)
const otherSocket = join(dir.path, 'other')
const device = await DeviceProcess.start({
  device: 'virtiofsd-ts',
  sharedDir: share.path,
  args: ['--share', `path=${other.path},socket=${otherSocket}`, '--keep-alive'],
})
try {
  await waitUntilListening(device, [otherSocket])
  const victim = await LoadGenerator.start(device.socketPath, share)
  const flooder = await LoadGenerator.start(otherSocket, other)
  process.stdout.write(
    'p50 and p99 of a guest at depth 1, alone and beside a flood by another guest, in microseconds\n',
  )
  for (const [name, job] of Object.entries(victims)) {
    for (const [floodName, flood] of Object.entries(floods)) {
      const alone: { p50: number; p99: number }[] = []
      const beside: { p50: number; p99: number }[] = []
      for (let round = 0; round < ROUNDS; round++) {
        const quiet = await victim.run(job, RUN_MS, WARM_UP_MS)
        alone.push({ p50: quiet.p50Us, p99: quiet.p99Us })
        const flooding = flooder.run(flood, FLOOD_MS, 0)
        const loud = await victim.run(job, RUN_MS, WARM_UP_MS)
        await flooding
        beside.push({ p50: loud.p50Us, p99: loud.p99Us })
      }
      const of = (runs: typeof alone, key: 'p50' | 'p99') => median(runs.map((run) => run[key]))
      const ratio = of(beside, 'p99') / of(alone, 'p99')
      process.stdout.write(
        `${name} beside ${floodName}: p50 ${of(alone, 'p50').toFixed(0)} -> ${of(beside, 'p50').toFixed(0)}, ` +
          `p99 ${of(alone, 'p99').toFixed(0)} -> ${of(beside, 'p99').toFixed(0)} (${ratio.toFixed(2)} times)\n`,
      )
    }
  }
  await victim.stop()
  await flooder.stop()
} finally {
  await device.stop()
  dir.remove()
}
