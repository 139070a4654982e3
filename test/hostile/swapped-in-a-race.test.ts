/**
 * The host replaces a directory by a link to another place, and back, all the time, while the guest works on names in
 * it. The guest never reaches that place. The same holds for a file which the guest makes and which the host replaces
 * by a link or a fifo. Both run with the sandbox, and without it, where only the file operations protect the host.
 */
import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { FuseError } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { race } from '../support/host/race.js'

const TRIES = 3000
const O_WRONLY = 1
const O_RDWR = 2
const O_TRUNC = 0o1000
const SECRET = 'secret'

/** A directory beside the share, with names that the share has, too. */
function makeOutside(t: Test, device: Device): string {
  const outside = mkdtempSync(`${device.directory}-outside-`)
  t.teardown(() => rmSync(outside, { recursive: true }))
  mkdirSync(`${outside}/sub`)
  writeFileSync(`${outside}/file`, SECRET)
  writeFileSync(`${outside}/sub/file`, SECRET)
  return outside
}

const isErrno = (error: unknown) => error instanceof FuseError
const known = new Set([
  'ENOENT',
  'ENOTDIR',
  'EBADF',
  'EEXIST',
  'ESTALE',
  'EISDIR',
  'ENOTEMPTY',
  'EINVAL',
  'EXDEV',
  'ELOOP',
])

/** Returns the result of an attempt, or its errno. Everything that it looked up is forgotten. */
function outcomeOf(fs: FuseGuest, attempt: () => string): string {
  try {
    return attempt()
  } catch (error) {
    if (!isErrno(error)) throw error
    const { code } = error as FuseError
    if (!known.has(code)) throw error
    return code
  } finally {
    fs.forgetAll()
  }
}

/** One walk down to the file, as a guest without caches makes it, and an operation on the result. */
function walk(t: Test, fs: FuseGuest, n: number, insideInodes: ReadonlySet<bigint>): string {
  return outcomeOf(fs, () => {
    const directory = fs.lookup(ROOT_ID, 'swapped').nodeid
    const found = n % 2 === 0 ? directory : fs.lookup(directory, 'sub').nodeid
    const { nodeid, attr } = fs.lookup(found, 'file')
    if (!insideInodes.has(attr.ino)) t.fail(`inode ${attr.ino} lies outside`)
    const { handle } = n % 3 === 0 ? fs.create(found, 'file', O_RDWR | O_TRUNC) : fs.open(nodeid, O_RDWR)
    const text = Buffer.from(fs.read(nodeid, handle, 0, 100)).toString()
    if (text === SECRET) t.fail('read what lies outside')
    fs.write(nodeid, handle, 0, Buffer.from('inside'))
    fs.release(nodeid, handle)
    fs.mkdir(found, `made-${n}`)
    fs.rename(found, `made-${n}`, directory, `moved-${n}`)
    fs.rmdir(directory, `moved-${n}`)
    return 'found'
  })
}

/** Makes a file once; something else may have its name already. */
function make(t: Test, fs: FuseGuest, n: number, insideInode: bigint): string {
  const flags = (n % 2 === 0 ? O_RDWR : O_WRONLY) | (n % 3 === 0 ? O_TRUNC : 0)
  return outcomeOf(fs, () => {
    const { nodeid, handle, attr } = fs.create(ROOT_ID, 'swapped', flags)
    if (attr.ino !== insideInode) t.fail(`inode ${attr.ino} lies outside, or is no file`)
    fs.write(nodeid, handle, 0, Buffer.from('inside'))
    fs.release(nodeid, handle)
    return 'opened'
  })
}

for (const sandbox of ['none', 'namespace'] as const) {
  const skip = sandbox === 'none' || isRoot ? {} : { skip: 'needs root: namespaces' }
  t.test(`${TRIES} walks in the sandbox ${sandbox}`, { ...skip, timeout: 200_000 }, async (t) => {
    const device = await Device.start(t, ['--keep-alive'], { sandbox })
    const outside = makeOutside(t, device)
    const inside = `${device.directory}/swapped`
    mkdirSync(`${inside}/sub`, { recursive: true })
    writeFileSync(`${inside}/file`, 'inside')
    writeFileSync(`${inside}/sub/file`, 'inside')
    const link = `${inside}-link`
    symlinkSync(outside, link)
    const inodes = new Set([`${inside}/file`, `${inside}/sub/file`].map((path) => BigInt(statSync(path).ino)))
    const fs = mount(t, device)
    const outcomes = await race(t, { path: inside, others: [link] }, TRIES, (n) => walk(t, fs, n, inodes))
    t.ok((outcomes.get('found') ?? 0) > 0 && outcomes.size > 1, 'both were met')
    t.same(readdirSync(outside).sort(), ['file', 'sub'])
    t.same(readdirSync(`${outside}/sub`), ['file'])
    for (const file of ['file', 'sub/file']) t.equal(readFileSync(`${outside}/${file}`, 'utf8'), SECRET)
    fs.close()
  })

  t.test(`${TRIES} files made in the sandbox ${sandbox}`, { ...skip, timeout: 200_000 }, async (t) => {
    const device = await Device.start(t, ['--keep-alive'], { sandbox })
    const outside = makeOutside(t, device)
    const inside = `${device.directory}/swapped`
    writeFileSync(inside, 'inside')
    const [link, fifo] = [`${inside}-link`, `${inside}-fifo`]
    symlinkSync(`${outside}/file`, link)
    execFileSync('mkfifo', [fifo])
    const fs = mount(t, device)
    const held = device.fdCount()
    const ino = BigInt(statSync(inside).ino)
    const outcomes = await race(t, { path: inside, others: [link, fifo] }, TRIES, (n) => make(t, fs, n, ino))
    t.ok((outcomes.get('opened') ?? 0) > 0 && outcomes.size > 1, 'the file and others were met')
    t.equal(readFileSync(inside, 'utf8'), 'inside')
    t.equal(readFileSync(`${outside}/file`, 'utf8'), SECRET)
    t.equal(device.fdCount(), held, 'no descriptor is left')
    fs.close()
  })
}
