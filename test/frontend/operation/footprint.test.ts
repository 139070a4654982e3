/** How much private memory a device has before any guest connects. Most of it is Node's. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { privateBytes, processTree } from '../../../vm/measure/processes.js'
import { median } from '../../../vm/measure/statistics.js'
import { Device } from '../../support/device/device.js'
import { tempDir } from '../../support/host/temp-dir.js'

const MIB = 1024 * 1024

// Other builds of Node 20, such as those of distributions, share pages that are private here.
const measured = process.version.startsWith('v20.') ? {} : { skip: `Node ${process.version} has other sizes` }

t.test(
  'private memory: below 14 MiB for one share, 30 MiB for two, 15 MiB for a thread, and 2 MiB for a further share on it',
  measured,
  async (t) => {
    const one = await typical(() => privateBytesOf(t, 1))
    t.ok(one < 14 * MIB, `one share, on the main thread: ${(one / MIB).toFixed(1)} MiB`)
    const two = await typical(() => privateBytesOf(t, 2))
    t.ok(two < 30 * MIB, `two shares, one of them on a thread of its own: ${(two / MIB).toFixed(1)} MiB`)
    const thread = await typical(
      async () => ((await privateBytesOf(t, 5)) - (await privateBytesOf(t, 2))) / 3,
    )
    t.ok(thread < 15 * MIB, `each further share, on a thread of its own: ${(thread / MIB).toFixed(1)} MiB`)
    const few = ['--share-threads', '2']
    const each = await typical(
      async () => ((await privateBytesOf(t, 12, few)) - (await privateBytesOf(t, 4, few))) / 8,
    )
    t.ok(each < 2 * MIB, `each further share, on a thread that is there: ${(each / MIB).toFixed(1)} MiB`)
  },
)

/** On a busy machine, V8 sometimes compiles or collects something just when it is measured. */
async function typical(measure: () => Promise<number>): Promise<number> {
  const values = []
  for (let n = 0; n < 3; n++) values.push(await measure())
  return median(values)
}

/** The private memory of a device with `count` shares, as it is confined by default. */
async function privateBytesOf(t: Test, count: number, threads = ['--share-threads', '16']): Promise<number> {
  const places = tempDir(t)
  const shares = Array.from({ length: count }, (_, n) => join(places, `${n}`)).flatMap((path) => {
    mkdirSync(path)
    return ['--share', `path=${path},socket=${path}.socket`]
  })
  // The device of a test also gets a share by other options, unless there are such.
  const args = ['--queue-threads', '1', ...threads, ...(count === 1 ? [] : shares.slice(2))]
  const device = await Device.start(t, args, { sandbox: 'namespace' })
  return privateBytes(processTree(device.outerPid))
}
