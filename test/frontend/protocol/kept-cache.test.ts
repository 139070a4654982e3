/** --cache auto: an open keeps the guest's cached pages of a file that has not changed, and of no other. */
import { chmodSync, constants, utimesSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Device, sleep } from '../../support/device/device.js'
import { EVERY_FLAG, Fopen, flagBits, Init, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'

const { O_RDONLY, O_RDWR } = constants
const { KEEP_CACHE } = Fopen
/** Longer than the granularity of file times, in which two changes look the same. */
const SETTLED_MS = 50

/** A file that has not changed for a while, and a guest that has opened it once. */
async function begin(t: Test, args: readonly string[] = [], flags = EVERY_FLAG) {
  const device = await Device.start(t, args)
  const path = `${device.directory}/file`
  writeFileSync(path, 'text')
  await sleep(SETTLED_MS)
  const fs = mount(t, device, { init: { flags } })
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const keeps = (openFlags = O_RDONLY) => {
    const { handle, flags } = fs.open(file, openFlags)
    fs.release(file, handle)
    return (flags & KEEP_CACHE) !== 0
  }
  t.notOk(keeps(), 'nothing is known of what the guest has')
  t.ok(keeps(), 'nothing has changed')
  return { device, path, fs, file, keeps }
}

t.test('a change on the host is seen at the next open; the one after that keeps', async (t) => {
  const { path, keeps } = await begin(t)
  writeFileSync(path, 'other')
  await sleep(SETTLED_MS)
  t.notOk(keeps())
  t.ok(keeps())
})

t.test(
  'a change that GETATTR has shown keeps the cache, because the guest has dropped its pages',
  async (t) => {
    const { path, fs, file, keeps } = await begin(t)
    writeFileSync(path, 'longer')
    await sleep(SETTLED_MS)
    fs.getattr(file)
    t.ok(keeps())
  },
)

t.test('new contents under the old time and size are noticed by their ctime', async (t) => {
  const { path, fs, file, keeps } = await begin(t)
  const before = fs.getattr(file).attr.mtimeNs
  utimesSync(path, 1, 1)
  await sleep(SETTLED_MS)
  fs.getattr(file)
  t.ok(keeps())
  writeFileSync(path, 'TEXT')
  utimesSync(path, 1, 1)
  await sleep(SETTLED_MS)
  t.equal(fs.getattr(file).attr.mtimeNs, 1_000_000_000n)
  t.not(before, 1_000_000_000n)
  t.notOk(keeps())
  chmodSync(path, 0o600)
  await sleep(SETTLED_MS)
  fs.lookup(ROOT_ID, 'file')
  t.notOk(keeps(), 'a change of the mode looks the same')
  t.ok(keeps())
})

t.test('the cache of a file that changed a moment ago is not kept', async (t) => {
  const { path, keeps } = await begin(t)
  utimesSync(path, new Date(Date.now() + 60_000), new Date(Date.now() + 60_000))
  t.notOk(keeps())
  t.notOk(keeps())
})

t.test('while the guest itself writes, an open keeps nothing', async (t) => {
  const { fs, file, keeps } = await begin(t)
  const writer = fs.open(file, O_RDWR)
  t.ok((writer.flags & KEEP_CACHE) !== 0)
  t.notOk(keeps())
  t.notOk(keeps())
  fs.release(file, writer.handle)
  t.notOk(keeps())
  t.ok(keeps())
  const { handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.release(file, handle)
  t.notOk(keeps())
})

t.test('the cache is not kept without AUTO_INVAL_DATA, with write-back, or on direct opens', async (t) => {
  for (const [args, flags] of [
    [[], EVERY_FLAG & ~flagBits(Init.AUTO_INVAL_DATA)],
    [['--writeback'], EVERY_FLAG],
    [['--cache', 'never'], EVERY_FLAG],
    [['--direct-io', 'always'], EVERY_FLAG],
  ] as const) {
    const device = await Device.start(t, [...args])
    writeFileSync(`${device.directory}/file`, 'text')
    await sleep(SETTLED_MS)
    const fs = mount(t, device, { init: { flags } })
    const file = fs.lookup(ROOT_ID, 'file').nodeid
    for (let n = 0; n < 3; n++) t.equal(fs.open(file, O_RDONLY).flags & KEEP_CACHE, 0, args.join(' '))
  }
})

t.test('a file that takes the row of a forgotten one does not keep its cache', async (t) => {
  const { device, fs, file } = await begin(t)
  fs.forget(file, 1)
  writeFileSync(`${device.directory}/other`, 'text')
  await sleep(SETTLED_MS)
  const other = fs.lookup(ROOT_ID, 'other').nodeid
  t.equal(fs.open(other, O_RDONLY).flags & KEEP_CACHE, 0)
})
