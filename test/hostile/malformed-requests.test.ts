/** FUSE requests of a wrong length, on the ring or in their header, and replies without room. */
import { readdirSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { type GuestRequest, REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, cstring, groupsExtension, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { RawRing, WRITE } from '../support/fuse/raw-ring.js'

const { EINVAL, EIO } = os.errno
const REQUEST_GPA = 200 << 20
const REPLY_GPA = 201 << 20
const MAX_ARG_BYTES = 128 * 1024

/** Bytes of fixed arguments (uapi fuse.h), and whether a name or two must follow them. */
const shapes: readonly (readonly [name: string, opcode: number, argBytes: number, names: number])[] = [
  ['LOOKUP', Op.LOOKUP, 0, 1],
  ['GETATTR', Op.GETATTR, 16, 0],
  ['SETATTR', Op.SETATTR, 88, 0],
  ['SYMLINK', Op.SYMLINK, 0, 2],
  ['MKNOD', Op.MKNOD, 16, 1],
  ['MKDIR', Op.MKDIR, 8, 1],
  ['UNLINK', Op.UNLINK, 0, 1],
  ['RMDIR', Op.RMDIR, 0, 1],
  ['RENAME', Op.RENAME, 8, 2],
  ['RENAME2', Op.RENAME2, 16, 2],
  ['LINK', Op.LINK, 8, 1],
  ['OPEN', Op.OPEN, 8, 0],
  ['READ', Op.READ, 40, 0],
  ['WRITE', Op.WRITE, 40, 0],
  ['RELEASE', Op.RELEASE, 24, 0],
  ['FSYNC', Op.FSYNC, 16, 0],
  ['FLUSH', Op.FLUSH, 24, 0],
  ['INIT', Op.INIT, 16, 0],
  ['OPENDIR', Op.OPENDIR, 8, 0],
  ['READDIR', Op.READDIR, 40, 0],
  ['READDIRPLUS', Op.READDIRPLUS, 40, 0],
  ['RELEASEDIR', Op.RELEASEDIR, 24, 0],
  ['FSYNCDIR', Op.FSYNCDIR, 16, 0],
  ['ACCESS', Op.ACCESS, 8, 0],
  ['CREATE', Op.CREATE, 16, 1],
  ['FALLOCATE', Op.FALLOCATE, 32, 0],
  ['LSEEK', Op.LSEEK, 24, 0],
  ['COPY_FILE_RANGE', Op.COPY_FILE_RANGE, 56, 0],
  ['SYNCFS', Op.SYNCFS, 8, 0],
]

const device = await Device.start(t, ['--keep-alive'])
const heldBefore = device.fdCount()

function errorOfArgs(fs: FuseGuest, opcode: number, args: Uint8Array): number {
  return fs.call({ opcode, nodeid: ROOT_ID, args, reply: { argBytes: 0, dataBytes: 4096 } }).error
}

t.test('arguments that are too short get EINVAL, in every operation', async (t) => {
  const fs = mount(t, device)
  for (const [name, opcode, argBytes] of shapes) {
    for (const lenBytes of new Set([0, 1, argBytes >> 1, argBytes - 1])) {
      if (lenBytes < 0 || lenBytes >= argBytes) continue
      t.equal(errorOfArgs(fs, opcode, new Uint8Array(lenBytes)), EINVAL, `${name} with ${lenBytes} bytes`)
    }
  }
  await assertLogged(t, device, 'arguments too short or too long')
  t.same(readdirSync(device.directory), [])
  fs.close()
})

t.test('missing and unterminated names get EINVAL', async (t) => {
  const fs = mount(t, device)
  for (const [name, opcode, argBytes, names] of shapes) {
    if (names === 0) continue
    const fixed = new Uint8Array(argBytes)
    const open = Buffer.from('name')
    const attempts = [fixed, concat(fixed, open), concat(fixed, new Uint8Array(1))]
    if (names === 2) {
      attempts.push(concat(fixed, cstring('one')), concat(fixed, cstring('one'), open))
      attempts.push(concat(fixed, cstring('one'), new Uint8Array(1)))
    }
    for (const args of attempts)
      t.equal(errorOfArgs(fs, opcode, args), EINVAL, `${name} with ${args.length} bytes`)
  }
  await assertLogged(t, device, 'bad name')
  t.same(readdirSync(device.directory), [])
  fs.close()
})

t.test('more arguments than any request has get EINVAL, and too long names ENAMETOOLONG', async (t) => {
  const fs = mount(t, device, { queueSize: 1024 })
  for (const [lenBytes, error] of [
    [MAX_ARG_BYTES, os.errno.ENAMETOOLONG],
    [MAX_ARG_BYTES + 1, EINVAL],
    [8 * MAX_ARG_BYTES, EINVAL],
  ] as const)
    t.equal(errorOfArgs(fs, Op.LOOKUP, cstring(Buffer.alloc(lenBytes - 1, 'n'))), error)
  fs.close()
})

t.test('an extension that reaches into the arguments or before them gets EINVAL', async (t) => {
  const fs = mount(t, device)
  for (const units of [1, 2, 7, 8, 100, 0xffff]) {
    const args = concat(u32(0o755, 0), cstring('sub'))
    const header = concat(u32(40 + args.length, Op.MKDIR), u64(7), u64(ROOT_ID), u32(0, 0, 0, units))
    t.equal(sendRaw(fs, concat(header, args), 40 + args.length, 144).error, -EINVAL, `${units * 8} bytes`)
  }
  t.same(readdirSync(device.directory), [])
  fs.close()
})

t.test('an invalid supplementary group is ignored', async (t) => {
  if (!isRoot) {
    t.pass('supplementary groups', { skip: 'needs root: a directory of another group' })
    return
  }
  const fs = mount(t, device)
  const { nodeid } = fs.mkdir(ROOT_ID, 'shared')
  fs.setattr(nodeid, { gid: 2000 })
  fs.setattr(nodeid, { mode: 0o2777 })
  // Only a member of the group makes a set-group-id file.
  const isMember = (extensions: Uint8Array) => {
    const caller = { uid: 1000, gid: 1000, extensions }
    const { attr } = fs.as(caller, () => fs.mknod(nodeid, 'file', 0o102775))
    fs.unlink(nodeid, 'file')
    return (attr.mode & 0o2000) !== 0
  }
  t.ok(isMember(groupsExtension(2000)))
  for (const [name, extension] of Object.entries({
    'no size': u32(0, 32, 1, 2000),
    'a size beyond its end': u32(4096, 32, 1, 2000),
    'more groups than there are': u32(16, 32, 0xffff_ffff, 2000),
    'two groups': u32(24, 32, 2, 2000, 3000, 0),
    'no group': u32(16, 32, 0, 0),
    'cut short': u32(8, 32),
    'of another kind': u32(16, 33, 1, 2000),
  })) {
    t.notOk(isMember(extension), name)
  }
  fs.rmdir(ROOT_ID, 'shared')
  fs.close()
})

const WRONG_LENGTHS = [0, 1, 39, 43, 4096, 0x8000_0000, 0xffff_ffff]

t.test('a header with an impossible length gets EIO if names or data follow', async (t) => {
  const fs = mount(t, device)
  const lookup = { opcode: Op.LOOKUP, nodeid: ROOT_ID, args: cstring('a'), reply: { argBytes: 128 } }
  const write = { opcode: Op.WRITE, nodeid: ROOT_ID, args: new Uint8Array(40), reply: { argBytes: 8 } }
  for (const headerLenBytes of WRONG_LENGTHS)
    t.equal(fs.call({ ...lookup, headerLenBytes }).error, EIO, `${headerLenBytes}`)
  for (const headerLenBytes of [0, 39, 81]) t.equal(fs.call({ ...write, headerLenBytes }).error, EIO)
  await assertLogged(t, device, 'request of a wrong length')
  fs.close()
})

t.test('a request of fixed arguments is as long as it is, whatever its header says', async (t) => {
  const fs = mount(t, device)
  const request: GuestRequest = { opcode: Op.STATFS, nodeid: ROOT_ID, reply: { argBytes: 80 } }
  for (const headerLenBytes of WRONG_LENGTHS)
    t.equal(fs.call({ ...request, headerLenBytes }).error, 0, `${headerLenBytes}`)
  const short = { opcode: Op.GETATTR, nodeid: ROOT_ID, args: new Uint8Array(15), reply: { argBytes: 104 } }
  for (const headerLenBytes of WRONG_LENGTHS)
    t.equal(fs.call({ ...short, headerLenBytes }).error, EINVAL, `${headerLenBytes}`)
  const forget = { opcode: Op.FORGET, nodeid: ROOT_ID, args: u64(1), reply: 'none' as const }
  for (const headerLenBytes of [0, 47, 49]) fs.call({ ...forget, headerLenBytes })
  const items = { ...forget, opcode: Op.BATCH_FORGET, args: concat(u32(1000, 0), u64(ROOT_ID, 1)) }
  for (const headerLenBytes of [0, 57, 0xffff_ffff]) fs.call({ ...items, headerLenBytes })
  fs.close()
})

t.test('the length of extensions means nothing if the guest has not offered any', async (t) => {
  const fs = mount(t, device, { init: { flags: 0n } })
  const mkdir = { opcode: Op.MKDIR, nodeid: ROOT_ID, args: concat(u32(0o755, 0), cstring('sub')) }
  t.equal(fs.call({ ...mkdir, reply: { argBytes: 128 }, headerEnd: 0xffff }).error, 0)
  fs.rmdir(ROOT_ID, 'sub')
  fs.close()
})

t.test('bytes beyond the length in the header are ignored', async (t) => {
  const fs = mount(t, device)
  writeFileSync(`${device.directory}/a`, '')
  const request = { opcode: Op.LOOKUP, nodeid: ROOT_ID, reply: { argBytes: 128 } }
  const args = concat(cstring('a'), cstring('rest'))
  t.equal(fs.call({ ...request, args, headerLenBytes: 40 + 2 }).error, 0)
  t.equal(fs.call({ ...request, args: cstring('ab'), headerLenBytes: 40 + 1 }).error, EINVAL)
  fs.init()
  fs.close()
})

/** Puts bytes on the ring as one descriptor, with room for a reply. Returns the reply, or undefined. */
function sendRaw(fs: FuseGuest, bytes: Uint8Array, readableBytes: number, writableBytes: number) {
  fs.frontend.write(REQUEST_GPA, bytes)
  fs.frontend.write(REPLY_GPA, new Uint8Array(256).fill(0xa5))
  const readable = readableBytes > 0 ? [{ gpa: REQUEST_GPA, lenBytes: readableBytes }] : []
  const writable = writableBytes > 0 ? [{ gpa: REPLY_GPA, lenBytes: writableBytes, flags: WRITE }] : []
  const { writtenBytes } = new RawRing(fs, REQUEST_QUEUE).submitChain([...readable, ...writable])
  const written = fs.frontend.read(REPLY_GPA, 256)
  const untouched = written.subarray(writtenBytes).every((byte) => byte === 0xa5)
  return { writtenBytes, untouched, error: new DataView(written.buffer).getInt32(4, true) }
}

const header = (opcode: number) => concat(u32(40, opcode), u64(7), u64(ROOT_ID), u32(0, 0, 0, 0))

function assertSilent(t: Test, result: ReturnType<typeof sendRaw>, name: string): void {
  t.same([result.writtenBytes, result.untouched], [0, true], name)
}

t.test('a request too short for a header, or empty, gets EIO if there is room for it', async (t) => {
  const fs = mount(t, device)
  for (const readableBytes of [0, 1, 4, 16, 39]) {
    const { writtenBytes, error } = sendRaw(fs, header(Op.STATFS), readableBytes, 96)
    t.same([writtenBytes, error], [16, -os.errno.EIO], `${readableBytes} bytes`)
    assertSilent(t, sendRaw(fs, header(Op.STATFS), readableBytes, 15), `${readableBytes} bytes, no room`)
  }
  fs.getattr(ROOT_ID)
  fs.close()
})

t.test(
  'a request without room for its reply gets EINVAL if there is room for that, else nothing',
  async (t) => {
    const fs = mount(t, device)
    for (const writableBytes of [0, 1, 8, 15])
      assertSilent(t, sendRaw(fs, header(Op.STATFS), 40, writableBytes), `${writableBytes} bytes`)
    for (const writableBytes of [16, 17, 95]) {
      const { writtenBytes, untouched, error } = sendRaw(fs, header(Op.STATFS), 40, writableBytes)
      t.same([writtenBytes, untouched, error], [16, true, -EINVAL], `${writableBytes} bytes`)
    }
    t.equal(sendRaw(fs, header(Op.STATFS), 40, 96).writtenBytes, 96)
    await assertLogged(t, device, 'no room for the reply')
    fs.close()
  },
)

t.test('a link’s target that does not fit gets EINVAL and is not cut', async (t) => {
  const fs = mount(t, device)
  const { nodeid } = fs.symlink(ROOT_ID, 'link', 'target')
  const readlink = (dataBytes: number) =>
    fs.call({ opcode: Op.READLINK, nodeid, reply: { argBytes: 0, dataBytes } })
  t.equal(readlink(5).error, EINVAL)
  t.equal(Buffer.from(readlink(6).body).toString(), 'target')
  fs.unlink(ROOT_ID, 'link')
  fs.close()
})

t.test('an unknown opcode needs room only for its error', async (t) => {
  const fs = mount(t, device)
  assertSilent(t, sendRaw(fs, header(99), 40, 15), '15 bytes')
  const { writtenBytes, error } = sendRaw(fs, header(99), 40, 16)
  t.same([writtenBytes, error], [16, -os.errno.ENOSYS])
  fs.close()
})

t.test('a request without room for its reply does nothing: no lookup, no handle, no change', async (t) => {
  writeFileSync(`${device.directory}/file`, '')
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const held = device.fdCount()
  const before = readdirSync(device.directory)
  for (const [name, opcode, args, replyBytes] of [
    ['OPEN', Op.OPEN, u32(0, 0), 16],
    ['OPENDIR', Op.OPENDIR, u32(0, 0), 16],
    ['LOOKUP', Op.LOOKUP, cstring('file'), 128],
    ['MKDIR', Op.MKDIR, concat(u32(0o755, 0), cstring('new')), 128],
    ['CREATE', Op.CREATE, concat(u32(2, 0o644, 0, 0), cstring('new')), 144],
    ['SETATTR', Op.SETATTR, new Uint8Array(88), 104],
    ['COPY_FILE_RANGE', Op.COPY_FILE_RANGE, new Uint8Array(56), 8],
    ['INIT', Op.INIT, u32(7, 46, 0, 0), 64],
  ] as const) {
    const node = opcode === Op.OPEN || opcode === Op.SETATTR ? nodeid : ROOT_ID
    const reply = { argBytes: replyBytes - 1 }
    t.equal(fs.call({ opcode, nodeid: node, args, reply }).error, EINVAL, name)
  }
  const unlink = concat(u32(45, Op.UNLINK), u64(7), u64(ROOT_ID), u32(0, 0, 0, 0), cstring('file'))
  assertSilent(t, sendRaw(fs, unlink, 45, 15), 'UNLINK')
  t.equal(device.fdCount(), held)
  t.same(readdirSync(device.directory), before)
  fs.close()
})

t.test('the device goes on', async (t) => {
  await assertSurvival(t, device, heldBefore)
})
