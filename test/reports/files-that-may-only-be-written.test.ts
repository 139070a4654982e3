/** A file whose owner may write it and not read it (mode 0200), on a device of that ordinary user. */
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { policies, users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'

const O_RDONLY = 0
const O_WRONLY = 1
const O_RDWR = 2
const O_TRUNC = 0o1000
const O_APPEND = 0o2000
const FOPEN_DIRECT_IO = 1
const WRITE_CACHE = 1

t.setTimeout(120_000)

const options = users['an ordinary user']!

for (const [policy, args] of Object.entries(policies)) {
  t.test(`${policy}: it is opened for writing, appended to and truncated`, async (t) => {
    const device = await Device.start(t, args, options)
    const path = join(device.directory, 'file')
    writeFileSync(path, 'some text')
    if (options.owner !== undefined) chownSync(path, options.owner, options.owner)
    chmodSync(path, 0o200)
    const fs = mount(t, device)
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    const ownText = () => {
      if (isRoot) return readFileSync(path, 'utf8')
      chmodSync(path, 0o600)
      const text = readFileSync(path, 'utf8')
      chmodSync(path, 0o200)
      return text
    }
    const opened = fs.open(nodeid, O_WRONLY)
    fs.write(nodeid, opened.handle, 0, Buffer.from('SOME'), O_WRONLY)
    fs.release(nodeid, opened.handle)
    t.equal(ownText(), 'SOME text')
    if (args.includes('--writeback'))
      t.ok(opened.flags & FOPEN_DIRECT_IO, 'the guest need not read the rest of a page that it changes')
    const appended = fs.open(nodeid, O_WRONLY | O_APPEND)
    fs.write(nodeid, appended.handle, 9, Buffer.from('!'), O_WRONLY | O_APPEND)
    t.equal(fs.write(nodeid, appended.handle, 0, Buffer.from('so'), O_WRONLY, WRITE_CACHE), 2, 'write-back')
    fs.release(nodeid, appended.handle)
    t.equal(ownText(), 'soME text!')
    fs.setattr(nodeid, { size: 4 })
    t.equal(ownText(), 'soME')
    fs.release(nodeid, fs.open(nodeid, O_WRONLY | O_TRUNC).handle)
    t.equal(statSync(path).size, 0)
    refused(t, 'EACCES', () => fs.open(nodeid, O_RDONLY))
    refused(t, 'EACCES', () => fs.open(nodeid, O_RDWR))
    chmodSync(path, 0o600)
    const again = fs.open(nodeid, O_WRONLY)
    t.equal(again.flags & FOPEN_DIRECT_IO, policy === 'never' ? FOPEN_DIRECT_IO : 0, 'with the right to read')
  })
}
