/** File systems that a user writes; their guest is played without a VM. */
import { constants } from 'node:fs'
import t, { type Test } from 'tap'
import {
  example,
  fixture,
  type ModuleOptions,
  ServedModule,
} from '../../support/file-systems/served-module.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { pattern } from '../../support/pattern.js'

const { O_RDONLY, O_RDWR, O_WRONLY } = constants
const MIB = 1 << 20

async function memory(t: Test, module: string, options: ModuleOptions = {}): Promise<FuseGuest> {
  const device = await ServedModule.start(t, module, options)
  return mount(t, device)
}

const kinds: readonly (readonly [string, string, ModuleOptions])[] = [
  ['values', example('memory'), {}],
  ['promises', fixture('promised-memory'), {}],
  ['slow promises', fixture('promised-memory'), { make: { delayMs: 2 } }],
]

for (const [kind, module, options] of kinds) {
  t.test(`${kind}: files are made, written, read, cut, renamed, linked and removed`, async (t) => {
    const guest = await memory(t, module, options)
    const made = guest.create(1n, 'a', O_RDWR, 0o640)
    t.equal(made.attr.mode, 0o100640)
    const data = pattern(3 * MIB, 1)
    for (let at = 0; at < data.length; at += MIB)
      t.equal(guest.write(made.nodeid, made.handle, at, data.subarray(at, at + MIB)), MIB)
    t.same(
      Buffer.from(guest.read(made.nodeid, made.handle, MIB, MIB)),
      Buffer.from(data.subarray(MIB, 2 * MIB)),
    )
    t.equal(guest.getattr(made.nodeid).attr.size, BigInt(3 * MIB))
    t.equal(guest.setattr(made.nodeid, { size: 10 }).attr.size, 10n)
    t.equal(guest.setattr(made.nodeid, { size: 20 }).attr.size, 20n)
    t.same(
      [...guest.read(made.nodeid, made.handle, 5, 100)],
      [...data.subarray(5, 10), ...new Uint8Array(10)],
    )
    const directory = guest.mkdir(1n, 'd', 0o750)
    t.equal(directory.attr.mode, 0o040750)
    guest.rename(1n, 'a', directory.nodeid, 'b')
    t.equal(
      errorOf(() => guest.lookup(1n, 'a')),
      'ENOENT',
    )
    t.equal(guest.lookup(directory.nodeid, 'b').nodeid, made.nodeid, 'the same node')
    t.equal(guest.link(made.nodeid, 1n, 'c').attr.nlink, 2)
    t.equal(
      errorOf(() => guest.link(made.nodeid, 1n, 'c')),
      'EEXIST',
    )
    t.equal(
      errorOf(() => guest.rmdir(1n, 'd')),
      'ENOTEMPTY',
    )
    guest.unlink(1n, 'c')
    guest.unlink(directory.nodeid, 'b')
    t.equal(guest.getattr(made.nodeid).attr.nlink, 0, 'lives on while it is open')
    t.equal(guest.write(made.nodeid, made.handle, 0, Buffer.from('still')), 5)
    guest.release(made.nodeid, made.handle)
    guest.rmdir(1n, 'd')
    const link = guest.symlink(1n, 'l', 'a/b/c')
    t.equal(guest.readlink(link.nodeid), 'a/b/c')
    guest.forgetAll()
    t.equal(
      errorOf(() => guest.getattr(made.nodeid)),
      'EBADF',
    )
  })

  t.test(`${kind}: a listing has every name once, whatever its pieces, and counts lookups`, async (t) => {
    const guest = await memory(t, module, options)
    const names = Array.from({ length: 100 }, (_, n) => `file-${n}`)
    for (const name of names) {
      const { nodeid, handle } = guest.create(1n, name, O_WRONLY)
      guest.release(nodeid, handle)
    }
    guest.forgetAll()
    for (const list of ['readdir', 'readdirplus'] as const) {
      const { handle } = guest.opendir(1n)
      const seen: string[] = []
      let offset = 0n
      for (;;) {
        const dirents = guest[list](1n, handle, offset, 700)
        if (dirents.length === 0) break
        seen.push(...dirents.map(({ name }) => name))
        offset = dirents.at(-1)?.off ?? 0n
      }
      t.same(seen, ['.', '..', ...names])
      const again = guest[list](1n, handle, 0n, 4096)
      t.equal(again[0]?.name, '.', 'from the front again')
      guest.releasedir(1n, handle)
    }
    t.equal(guest.lookups.size, 100)
    guest.forgetAll()
  })
}

t.test('the memory example has sparse files, and times to the nanosecond', async (t) => {
  const guest = await memory(t, example('memory'))
  const { nodeid, handle } = guest.create(1n, 'sparse', O_RDWR)
  const far = 2 ** 42
  t.equal(guest.write(nodeid, handle, far, Buffer.from('end')), 3)
  t.equal(guest.getattr(nodeid).attr.size, BigInt(far + 3))
  t.equal(Buffer.from(guest.read(nodeid, handle, far - 2, 10)).toString(), '\0\0end')
  const { attr } = guest.setattr(nodeid, { mtimeNs: -1n, atimeNs: 1_700_000_000_123_456_789n })
  t.same([attr.mtimeNs, attr.atimeNs], [-1n, 1_700_000_000_123_456_789n])
  t.ok(guest.setattr(nodeid, { mtimeNs: 'now' }).attr.mtimeNs > 1_700_000_000_000_000_000n)
})

t.test('a method that fails gives the guest an errno, and the log names the method', async (t) => {
  const device = await ServedModule.start(t, fixture('wild-file-system'))
  const guest = mount(t, device)
  const expected: Readonly<Record<string, string>> = {
    'throws-eacces': 'EACCES',
    'rejects-enospc': 'ENOSPC',
    'no-such-name': 'ENOENT',
  }
  const names = [
    ...['throws-a-string', 'throws-null', 'throws-an-error', 'throws-with-a-cause'],
    ...['throws-eacces', 'throws-no-errno'],
    ...['throws-a-number', 'rejects-enospc', 'rejects-undefined', 'then-throws', 'negative-size'],
    ...['fractional-size', 'huge-size', 'text-size', 'no-attributes', 'wrong-type', 'wrong-mode'],
    ...['wrong-date', 'invalid-date', 'wrong-timeout', 'a-string', 'a-number', 'root', 'no-such-name'],
  ]
  for (const name of names)
    t.equal(
      errorOf(() => guest.lookup(1n, name)),
      expected[name] ?? 'EIO',
      name,
    )
  t.equal(guest.lookups.size, 0, 'nothing was counted')
  const open = (name: string, flags = O_RDONLY) => {
    const { nodeid } = guest.lookup(1n, name)
    return { nodeid, ...guest.open(nodeid, flags) }
  }
  for (const name of ['reads-text', 'reads-nothing', 'reads-too-much']) {
    const { nodeid, handle } = open(name)
    t.equal(
      errorOf(() => guest.read(nodeid, handle, 0, 4096)),
      'EIO',
      name,
    )
  }
  for (const name of ['writes-too-much', 'writes-text']) {
    const { nodeid, handle } = open(name, O_WRONLY)
    t.equal(
      errorOf(() => guest.write(nodeid, handle, 0, Buffer.from('x'))),
      'EIO',
      name,
    )
  }
  for (const name of ['opens-oddly', 'opens-a-number'])
    t.equal(
      errorOf(() => open(name)),
      'EIO',
      name,
    )
  t.equal(
    errorOf(() => open('good', O_RDWR)),
    'EROFS',
    'no method writes',
  )
  for (const name of ['links-nowhere', 'links-to-nul', 'links-to-number'])
    t.equal(
      errorOf(() => guest.readlink(guest.lookup(1n, name).nodeid)),
      'EIO',
      name,
    )
  for (const name of ['slash', 'nul', 'dots', 'empty', 'long', 'numbers', 'a-number']) {
    const { nodeid } = guest.lookup(1n, `lists-${name}`)
    const { handle } = guest.opendir(nodeid)
    for (const list of ['readdir', 'readdirplus'] as const)
      t.equal(
        errorOf(() => guest[list](nodeid, handle, 0n)),
        'EIO',
        `${list} ${name}`,
      )
  }
  const { nodeid } = guest.lookup(1n, 'lists-and-misses')
  const listed = guest.readdirplus(nodeid, guest.opendir(nodeid).handle, 0n)
  t.same(
    listed.map(({ name, entry }) => [name, (entry?.nodeid ?? 0n) !== 0n]),
    [
      ['.', false],
      ['..', false],
      ['one', true],
      ['bad', false],
      ['gone', false],
      ['two', true],
    ],
    'one that cannot be looked up does not keep the others from being listed',
  )
  guest.lookup(1n, 'shared')
  t.equal(
    errorOf(() => guest.mkdir(guest.lookup(1n, 'makes-old').nodeid, 'x')),
    'EIO',
  )
  t.equal(
    errorOf(() => guest.mkdir(guest.lookup(1n, 'makes-nothing').nodeid, 'x')),
    'EIO',
  )
  t.equal(
    errorOf(() => guest.create(guest.lookup(1n, 'makes-nothing').nodeid, 'x', O_RDWR)),
    'EIO',
  )
  t.equal(
    errorOf(() => guest.mkdir(1n, 'x')),
    'EROFS',
    'no method makes directories',
  )
  t.equal(
    errorOf(() => guest.symlink(1n, 'x', 'y')),
    'EPERM',
  )
  t.equal(
    errorOf(() => guest.statfs()),
    'EIO',
  )
  t.equal(
    errorOf(() => guest.lookup(1n, 'throws-nothing')),
    'EIO',
  )
  guest.forget(guest.lookup(1n, 'forgets-badly').nodeid, 1)
  await device.says(/forget\(\) failed: .*\n.*a bug in forget/)
  t.equal(guest.lookup(1n, 'good').attr.size, 5n, 'the device lives')
  for (const said of [
    /stat\(\) failed: the guest gets EIO path=.*\n(Error: a bug in stat[\s\S]*?wild-file-system|just text)/,
    /read\(\) failed: the guest gets EIO/,
    /mkdir\(\) failed: .*\n.*'shared'/,
    /readdir\(\) failed: the guest gets EIO path=.*\nTypeError: an entry's name is "a\/b"/,
    /mounted\(\) failed/,
  ])
    await device.says(said)
})

t.test('the log tells the path, the wrong value, and what caused an error', async (t) => {
  const device = await ServedModule.start(t, fixture('wild-file-system'), { serve: { methodTimeoutMs: 100 } })
  const guest = mount(t, device)
  const fails = (work: () => unknown, code = 'EIO') => t.equal(errorOf(work), code)
  fails(() => guest.lookup(1n, 'throws-with-a-cause'))
  const { nodeid } = guest.lookup(1n, 'reads-text')
  fails(() => guest.read(nodeid, guest.open(nodeid, O_RDONLY).handle, 0, 10))
  const directory = guest.lookup(1n, 'makes-nothing').nodeid
  fails(() => guest.mkdir(directory, 'ma\u009b2J\u202ede'))
  fails(() => guest.unlink(guest.lookup(1n, 'removes-never').nodeid, 'name'), 'ETIMEDOUT')
  for (const said of [
    /stat\(\) failed: .* path="\/throws-with-a-cause"\n/,
    /\nError: no answer\n +at .*[\s\S]*\n {2}caused by: Error: no server\n +at [\s\S]*\n {2}caused by: off\n/,
    /read\(\) failed: .* path="\/reads-text"\nTypeError: the answer is "text", not a Uint8Array\n/,
    /mkdir\(\) failed: .* path="\/makes-nothing\/ma\\u009b2J\\u202ede"\n/,
    /unlink\(\) has not settled: the guest gets ETIMEDOUT path="\/removes-never\/name" timeoutMs=100\n/,
  ])
    await device.says(said)
})

t.test(
  'a promise that does not settle delays no other request, and is cancelled when the guest leaves',
  async (t) => {
    const device = await ServedModule.start(t, fixture('wild-file-system'), {
      serve: { once: false, stopTimeoutMs: 50 },
    })
    const guest = mount(t, device)
    const { nodeid } = guest.lookup(1n, 'never-reads')
    const { handle } = guest.open(nodeid, O_RDONLY)
    const late = guest.lookup(1n, 'reads-late')
    const lateHandle = guest.open(late.nodeid, O_RDONLY).handle
    const stuck = guest.start(guest.readRequest(nodeid, handle, 0, 10))
    t.equal(Buffer.from(guest.read(late.nodeid, lateHandle, 0, 100)).toString(), 'late', 'passes it')
    t.equal(guest.lookup(1n, 'good').attr.size, 5n)
    t.equal(stuck.reply, undefined)
    guest.close()
    const next = mount(t, device)
    t.equal(next.lookup(1n, 'aborted').attr.size, 1n, 'its signal was aborted')
    next.close()
  },
)

t.test('with methodTimeoutMs a request whose method does not settle gets ETIMEDOUT', async (t) => {
  const device = await ServedModule.start(t, fixture('wild-file-system'), { serve: { methodTimeoutMs: 100 } })
  const guest = mount(t, device)
  t.equal(
    errorOf(() => guest.lookup(1n, 'never-stats')),
    'ETIMEDOUT',
  )
  await device.says(/lookup\(\) has not settled: the guest gets ETIMEDOUT/)
  t.equal(guest.lookup(1n, 'good').attr.size, 5n)
})

t.test('each open chooses its own FOPEN flags', async (t) => {
  const device = await ServedModule.start(t, fixture('wild-file-system'))
  const guest = mount(t, device)
  const flagsOf = (name: string) => guest.open(guest.lookup(1n, name).nodeid, O_RDONLY).flags
  t.equal(flagsOf('good'), 1 << 5, 'as the policy says; nobody wants a FLUSH')
  t.equal(flagsOf('opens-direct'), (1 << 0) | (1 << 5) | (1 << 6))
})

t.test('a write larger than agreed on at INIT is refused before its data is copied', async (t) => {
  const guest = await memory(t, example('memory'))
  const { nodeid, handle } = guest.create(1n, 'a', O_RDWR, 0o640)
  t.equal(
    errorOf(() => guest.write(nodeid, handle, 0, pattern(MIB + 1, 1))),
    'EINVAL',
  )
  t.equal(guest.write(nodeid, handle, 0, pattern(MIB, 1)), MIB)
})
