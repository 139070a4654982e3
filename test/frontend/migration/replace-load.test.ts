/** Processes replace each other while a guest works: each request is answered exactly once. */
import t from 'tap'
import { replaceUnderLoad } from '../../soak/replace-load.js'
import { isRoot } from '../../support/device/cases.js'
import type { Device } from '../../support/device/device.js'
import { LiveDevice } from '../../support/device/live-device.js'
import { mount } from '../../support/fuse/mount.js'

/** `make bench-replace` makes more. */
const REPLACEMENTS = 8

t.setTimeout(280_000)

for (const [storage, options] of [
  ['memory', ['--cache', 'never']],
  ['disk', ['--cache', 'auto', '--writeback']],
  ['disk', ['--inode-file-handles', 'never', '--limit-iops', '20000']],
] as const) {
  t.test(`${REPLACEMENTS} replacements with ${options.join(' ')}, files on ${storage}`, async (t) => {
    const sandbox = isRoot ? 'namespace' : 'none'
    const live = await LiveDevice.start(t, options, { storage, sandbox })
    const fs = mount(t, live.device)
    await live.replace()
    const fds = await restingFds(live.device)
    const { requests } = await replaceUnderLoad(live, fs, REPLACEMENTS)
    t.ok(requests > REPLACEMENTS, `${requests} requests were answered once each`)
    fs.forgetAll()
    t.equal(await restingFds(live.device), fds, 'and no replacement leaves a descriptor')
  })
}

/** Descriptors but io_urings: of these, a process gets as many as the kernel has left for its user. */
async function restingFds(device: Device): Promise<number> {
  await device.restingFdCount()
  return device.openFiles().filter((name) => !name.includes('io_uring')).length
}
