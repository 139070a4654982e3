/** How much private memory a device has before any guest connects. Less than a third of it is the program's own. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { privateBytes, processTree } from '../../../vm/measure/processes.js'
import { Device } from '../../support/device/device.js'
import { tempDir } from '../../support/host/temp-dir.js'

const MIB = 1024 * 1024
const FURTHER = 3

// Other builds of Node 20, such as those of distributions, share pages that are private here.
const measured = process.version.startsWith('v20.') ? {} : { skip: `Node ${process.version} has other sizes` }

t.test(
  'private memory of one share is below 25 MiB, and of each further one below 14 MiB',
  measured,
  async (t) => {
    const one = await Device.start(t, [], { sandbox: 'namespace' })
    const oneBytes = privateBytes(processTree(one.outerPid))
    t.ok(oneBytes < 25 * MIB, `one share: ${(oneBytes / MIB).toFixed(1)} MiB`)

    const places = tempDir(t)
    const more = Array.from({ length: FURTHER }, (_, n) => join(places, `${n}`)).flatMap((path) => {
      mkdirSync(path)
      return ['--share', `path=${path},socket=${path}.socket`]
    })
    const many = await Device.start(t, more, { sandbox: 'namespace' })
    const eachBytes = (privateBytes(processTree(many.outerPid)) - oneBytes) / FURTHER
    t.ok(eachBytes < 14 * MIB, `each further share: ${(eachBytes / MIB).toFixed(1)} MiB`)
  },
)
