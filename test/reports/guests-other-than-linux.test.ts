/**
 * Drivers that are not Linux's: the one of virtio-win for Windows, that of OVMF, and those of small systems, such as Zephyr,
 * Hermit and Unikraft. The first two offer READDIRPLUS and nothing else at INIT, and cache no names. All work with virtiofsd.
 */
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Device } from '../support/device/device.js'
import { serveModule } from '../support/file-systems/module-guest.js'
import { flagBits, Init, Op, ROOT_ID, SEEK_SET } from '../support/fuse/fuse-abi.js'
import type { GuestRequest } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, cstring, ENTRY_BYTES, readEntry, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { refused } from '../support/fuse/refusals.js'
import { tempDir } from '../support/host/temp-dir.js'

const O_RDONLY = 0
const O_RDWR = 2
const SEEK_CUR = 1
const SEEK_END = 2
const O_EXCL = 0o200
const READDIRPLUS = flagBits(Init.DO_READDIRPLUS)
/** What both offer. */
const init = { minor: 31, maxReadahead: 0, flags: READDIRPLUS, argBytes: 16 }
/** The last word of the header comes from the stack. */
const headerEnd = 0xbeef_0123

const policies: Readonly<Record<string, readonly string[]>> = {
  never: ['--cache', 'never'],
  auto: [],
  always: ['--cache', 'always'],
  'write-back': ['--cache', 'always', '--writeback'],
}

for (const [policy, args] of Object.entries(policies)) {
  t.test(`${policy}: READDIRPLUS is agreed on, which the driver of OVMF insists on`, async (t) => {
    const fs = mount(t, await Device.start(t, ['--keep-alive', ...args]), { init })
    t.equal(fs.init(init).flags & READDIRPLUS, READDIRPLUS)
  })

  t.test(`${policy}: a Windows guest finds, makes, reads, writes and lists files`, async (t) => {
    const device = await Device.start(t, args)
    const { directory } = device
    mkdirSync(join(directory, 'sub'))
    symlinkSync('sub', join(directory, 'link'))
    const fs = mount(t, device, { init })
    const ask = (request: GuestRequest) => fs.succeed({ ...request, headerEnd })
    const lookup = (parent: bigint | number, name: string) =>
      readEntry(
        ask({ opcode: Op.LOOKUP, nodeid: parent, args: cstring(name), reply: { argBytes: ENTRY_BYTES } }),
      )
    const root = lookup(ROOT_ID, '.')
    t.equal(root.nodeid, BigInt(ROOT_ID), 'the root is looked up as "."')
    t.equal(root.attr.mode & 0o170000, 0o040000)
    const { nodeid: sub } = lookup(ROOT_ID, 'sub')
    t.equal(lookup(sub, '.').nodeid, sub)
    refused(t, 'ENOENT', () => lookup(ROOT_ID, 'missing'))
    refused(t, 'ENOENT', () => lookup(ROOT_ID, 'missing'))

    const created = ask({
      opcode: Op.CREATE,
      nodeid: sub,
      // The last field, which was padding once, is not set either.
      args: concat(u32(O_RDWR | O_EXCL, 0o664, 0, 0xffff_ffff), cstring('new')),
      reply: { argBytes: ENTRY_BYTES + 16 },
    })
    const { nodeid } = readEntry(created)
    const handle = created.u64()
    t.equal(fs.write(nodeid, handle, 0, Buffer.from('0123456789')), 10)
    for (const wanted of [1, 10, 39, 40, 41, 4096, 1 << 20]) {
      const { error, body } = fs.call({
        opcode: Op.READ,
        nodeid,
        args: concat(u64(handle, 0), u32(wanted, 0), u64(0), u32(0, 0)),
        reply: { argBytes: 0, dataBytes: wanted },
        // The bytes that are asked for, in place of those of the request.
        headerLenBytes: 40 + wanted,
        headerEnd,
      })
      t.equal(error, 0)
      t.equal(Buffer.from(body).toString(), '0123456789'.slice(0, wanted), `a READ of ${wanted} bytes`)
    }
    const link = ask({
      opcode: Op.READLINK,
      nodeid: lookup(ROOT_ID, 'link').nodeid,
      args: new Uint8Array(260),
      reply: { argBytes: 0, dataBytes: 260 },
    })
    t.equal(Buffer.from(link.take(link.leftBytes)).toString(), 'sub')
    ask({
      opcode: Op.FALLOCATE,
      nodeid,
      args: concat(u64(handle, 0, 8192), u32(1, 0)),
      reply: { argBytes: 0 },
    })
    t.equal(statSync(join(directory, 'sub/new')).size, 10)
    fs.setattr(nodeid, { mode: 0o100444, mtimeNs: 1n })
    t.equal(statSync(join(directory, 'sub/new')).mode, 0o100444)
    const listed = fs.readdirplus(sub, fs.opendir(sub).handle, 0)
    t.equal(listed.find(({ name }) => name === 'new')?.entry?.nodeid, nodeid)
    ask({
      opcode: Op.RENAME2,
      nodeid: sub,
      args: concat(u64(ROOT_ID), u32(1, 0), cstring('new'), cstring('moved')),
      reply: { argBytes: 0 },
    })
    t.equal(readFileSync(join(directory, 'moved'), 'utf8'), '0123456789')
    fs.release(nodeid, handle)
  })
}

t.test('an INIT of 7.27 whose header leaves out its arguments begins a session', async (t) => {
  const fs = mount(t, await Device.start(t), { init })
  const args = concat(u32(7, 27, 0, 0))
  for (const headerLenBytes of [40, 16])
    t.equal(fs.call({ opcode: Op.INIT, nodeid: 0, args, reply: { argBytes: 64 }, headerLenBytes }).error, 0)
  t.equal(fs.getattr(ROOT_ID).attr.nlink, 2)
})

t.test('a file system of one’s own finds "." as well', async (t) => {
  const path = join(tempDir(t), 'module.mjs')
  writeFileSync(
    path,
    `const file = { stat: () => ({ mode: 0o100644, size: 4 }) }
     const sub = { lookup: (name) => (name === 'file' ? file : undefined) }
     export default () => ({ root: { lookup: (name) => (name === 'sub' ? sub : undefined) } })`,
  )
  const { guest: fs } = await serveModule(t, path)
  fs.init(init)
  const { nodeid } = fs.lookup(ROOT_ID, 'sub')
  t.equal(fs.lookup(ROOT_ID, '.').nodeid, BigInt(ROOT_ID))
  t.equal(fs.lookup(nodeid, '.').nodeid, nodeid)
  refused(t, 'ENOENT', () => fs.lookup(ROOT_ID, 'missing'))
  fs.forget(nodeid, 1n)
  t.equal(fs.lookup(nodeid, 'file').attr.size, 4n, 'each is a lookup to be forgotten')
  fs.forget(nodeid, 1n)
  refused(t, 'EBADF', () => fs.getattr(nodeid))
})

/** Moves a file pointer as Zephyr and Hermit do: by LSEEK. Linux sends it for data and holes alone. */
function seeks(t: Test, fs: FuseGuest, nodeid: bigint, handle: bigint, sizeBytes: bigint): void {
  const last = 0xffff_ffff_ffff_ffffn
  t.equal(fs.lseek(nodeid, handle, 0, SEEK_END), sizeBytes)
  t.equal(fs.lseek(nodeid, handle, 6, SEEK_END), sizeBytes + 6n, 'behind the end')
  t.equal(fs.lseek(nodeid, handle, last - 2n, SEEK_END), sizeBytes - 3n, 'three bytes before it')
  refused(t, 'EINVAL', () => fs.lseek(nodeid, handle, last - sizeBytes, SEEK_END))
  for (const at of [0n, 3n, sizeBytes + 100n]) t.equal(fs.lseek(nodeid, handle, at, SEEK_SET), at)
  for (const at of [last, 1n << 63n]) refused(t, 'EINVAL', () => fs.lseek(nodeid, handle, at, SEEK_SET))
  // READ and WRITE carry their own offsets, so the device has no position from which it could count.
  refused(t, 'EINVAL', () => fs.lseek(nodeid, handle, 0, SEEK_CUR))
}

for (const [policy, args] of Object.entries(policies)) {
  t.test(`${policy}: LSEEK finds the end of a file`, async (t) => {
    const fs = mount(t, await Device.start(t, args), { init: { ...init, flags: 0n } })
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR, 0o644)
    fs.write(nodeid, handle, 0, Buffer.from('0123456789'))
    seeks(t, fs, nodeid, handle, 10n)
  })
}

for (const method of ['', 'seek: () => 0,']) {
  t.test(`a file system of one’s own ${method === '' ? 'without' : 'with'} seek: the same`, async (t) => {
    const path = join(tempDir(t), 'module.mjs')
    writeFileSync(
      path,
      `const file = { stat: async () => ({ mode: 0o100644, size: 10 }), ${method} }
       export default () => ({ root: { lookup: (name) => (name === 'file' ? file : undefined) } })`,
    )
    const { guest: fs } = await serveModule(t, path)
    fs.init({ ...init, flags: 0n })
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    seeks(t, fs, nodeid, fs.open(nodeid, O_RDONLY).handle, 10n)
  })
}

t.test('Zephyr forgets on its only queue, with the arguments behind the length in the header', async (t) => {
  const device = await Device.start(t)
  const fs = mount(t, device, { init: { ...init, flags: 0n } })
  const held = device.fdCount()
  const { nodeid } = fs.mkdir(ROOT_ID, 'directory')
  fs.call({ opcode: Op.FORGET, nodeid, args: u64(1), reply: 'none', headerLenBytes: 40 })
  refused(t, 'EBADF', () => fs.getattr(nodeid))
  t.equal(device.fdCount(), held)
})

t.test(
  'Unikraft wants exactly the flag that it offers, and ends a session without room for a reply',
  async (t) => {
    const fs = mount(t, await Device.start(t, ['--keep-alive']))
    const flags = flagBits(Init.BIG_WRITES)
    for (let n = 0; n < 3; n++) {
      t.equal(fs.init({ flags, minor: 38, argBytes: 64 }).flags, flags)
      const { nodeid } = fs.lookup(ROOT_ID, '.')
      t.equal(nodeid, BigInt(ROOT_ID))
      fs.call({ opcode: Op.DESTROY, nodeid: 0, reply: 'none' })
    }
  },
)
