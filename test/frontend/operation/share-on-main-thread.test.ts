/** A share that is alone in a sandbox needs no thread of its own, and the process obeys signals all the same. */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Device, type DeviceOptions } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll } from '../../support/fuse/writers.js'
import { tempDir } from '../../support/host/temp-dir.js'

const READS = 60
const READ_BYTES = 64 * 1024
const sandboxed: DeviceOptions = { sandbox: 'namespace' }
/** With more, the share has a thread of its own from the start. */
const ONE_THREAD = ['--queue-threads', '1']

/** The number of threads of the serving process. */
function threadsOf({ pid }: Device): number {
  return readdirSync(`/proc/${pid}/task`).length
}

/** Puts reads of a file on the ring. */
function startReads(fs: FuseGuest): Call[] {
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, 0)
  return Array.from({ length: READS }, () => fs.start(fs.readRequest(nodeid, handle, 0n, READ_BYTES)))
}

t.test('what else there is to do wants a thread for the share', async (t) => {
  const alone = threadsOf(await Device.start(t, ONE_THREAD, sandboxed))
  const others = {
    'a control socket': ['--control-socket', join(tempDir(t), 'control')],
    metrics: ['--metrics', `unix:${join(tempDir(t), 'metrics')}`],
    'a trace': ['--trace', join(tempDir(t), 'trace')],
  }
  for (const [name, args] of Object.entries(others))
    t.equal(threadsOf(await Device.start(t, [...ONE_THREAD, ...args], sandboxed)), alone + 1, name)
})

t.test('a signal ends a process that serves its share on the main thread', async (t) => {
  const device = await Device.start(t, ONE_THREAD, sandboxed)
  writeFileSync(join(device.directory, 'file'), new Uint8Array(READ_BYTES))
  const fs = mount(t, device)
  finishAll(fs, startReads(fs))
  startReads(fs)
  device.kill('SIGTERM')
  t.same(await device.exited(), { status: 0, signal: null })
  t.ok(device.logs().some(({ msg }) => msg === 'ending'))
})

t.test('guests come and go', async (t) => {
  const device = await Device.start(t, ['--keep-alive', ...ONE_THREAD], sandboxed)
  writeFileSync(join(device.directory, 'file'), new Uint8Array(READ_BYTES))
  for (let round = 0; round < 3; round++) {
    const fs = mount(t, device)
    finishAll(fs, startReads(fs))
    startReads(fs)
    fs.close()
  }
  const fs = mount(t, device)
  t.equal(fs.lookup(ROOT_ID, 'file').attr.size, BigInt(READ_BYTES))
})
