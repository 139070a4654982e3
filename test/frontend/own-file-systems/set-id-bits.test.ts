/**
 * What a file of a user's own file system loses when a caller without the right to it writes: Linux clears it before most
 * changes by SETATTR, and relies on the device for direct writes.
 */
import { constants } from 'node:fs'
import t, { type Test } from 'tap'
import {
  example,
  fixture,
  type ModuleOptions,
  ServedModule,
} from '../../support/file-systems/served-module.js'
import { WRITE_KILL_SUIDGID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { getxattr, setxattr } from '../../support/fuse/posix-calls.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_RDWR, O_RDONLY } = constants
const CAPABILITY = 'security.capability'
const byte = Uint8Array.of(1)

/** Below root the host's kernel takes the bits at every write of the process that serves its files. */
const hostKeeps = process.geteuid?.() === 0

/** A name, a module, its options, and the mode that is left by a writer who may keep it. */
const kinds = (t: Test): readonly (readonly [string, string, ModuleOptions, number])[] => [
  ['values', example('memory'), {}, 0o6777],
  ['promises', fixture('promised-memory'), { make: { delayMs: 2 } }, 0o6777],
  [
    'node:fs',
    fixture('adapted-file-systems'),
    { make: { kind: 'node', directory: tempDir(t) } },
    hostKeeps ? 0o6777 : 0o777,
  ],
]

async function served(t: Test, module: string, options: ModuleOptions): Promise<FuseGuest> {
  return mount(t, await ServedModule.start(t, module, options))
}

t.test('a write that says so takes set-user-id, and set-group-id of a program of its group', async (t) => {
  for (const [kind, module, options, kept] of kinds(t)) {
    const guest = await served(t, module, options)
    const { nodeid, handle } = guest.create(1n, 'file', O_RDWR, 0o777)
    const after = (mode: number, writeFlags: number) => {
      guest.setattr(nodeid, { mode })
      t.equal(guest.write(nodeid, handle, 0, byte, 0, writeFlags), 1)
      return guest.getattr(nodeid).attr.mode & 0o7777
    }
    t.equal(after(0o6777, 0), kept, `${kind}: a writer that may keep them`)
    t.equal(after(0o6777, WRITE_KILL_SUIDGID), 0o777, kind)
    t.equal(after(0o6767, WRITE_KILL_SUIDGID), 0o2767, `${kind}: no program of its group`)
    t.equal(after(0o1751, WRITE_KILL_SUIDGID), 0o1751, `${kind}: nothing to take`)
    guest.unlink(1n, 'file')
    t.equal(after(0o6777, WRITE_KILL_SUIDGID), 0o777, `${kind}: a file without a name`)
    guest.release(nodeid, handle)
  }
})

t.test('a write that says so takes a capability, too', async (t) => {
  for (const [kind, module, options] of kinds(t).slice(0, 2)) {
    const guest = await served(t, module, options)
    const { nodeid, handle } = guest.create(1n, 'file', O_RDWR, 0o755)
    setxattr(guest, nodeid, CAPABILITY, byte)
    guest.write(nodeid, handle, 0, byte)
    t.same([...getxattr(guest, nodeid, CAPABILITY)], [1], kind)
    guest.write(nodeid, handle, 0, byte, 0, WRITE_KILL_SUIDGID)
    t.equal(
      errorOf(() => getxattr(guest, nodeid, CAPABILITY)),
      'ENODATA',
      kind,
    )
  }
})

t.test('attributes of a set-id file are not cached: its bits may go with a write', async (t) => {
  const guest = await served(t, example('memory'), { serve: { cache: 'always' } })
  const day = 86_400_000_000_000n
  const valid = (mode: number) => {
    const name = mode.toString(8)
    const made = guest.create(1n, name, O_RDWR, mode)
    const seen = [
      made.attrValidNs,
      guest.lookup(1n, name).attrValidNs,
      guest.getattr(made.nodeid).validNs,
      guest.setattr(made.nodeid, { size: 1 }).validNs,
    ]
    t.ok(
      seen.every((ns) => ns === seen[0]),
      `${name}: all replies say the same`,
    )
    return seen[0]
  }
  t.equal(valid(0o4755), 0n)
  t.equal(valid(0o2755), 0n)
  t.equal(valid(0o755), day)
  t.equal(guest.mkdir(1n, 'directory', 0o2755).attrValidNs, day, 'a directory keeps its bit')
})

t.test('a write that cannot take the bits does not write', async (t) => {
  const device = await ServedModule.start(t, fixture('set-id-files'))
  const guest = mount(t, device)
  const write = (name: string) => {
    const { nodeid } = guest.lookup(1n, name)
    const { handle } = guest.open(nodeid, O_RDWR)
    return errorOf(() => guest.write(nodeid, handle, 0, byte, 0, WRITE_KILL_SUIDGID))
  }
  t.equal(write('fixed'), 'EROFS', 'as SETATTR, which Linux sends before a write to its cache')
  t.equal(write('forbidden'), 'EACCES')
  t.equal(write('broken'), 'EIO')
  await device.says(/setattr\(\) failed: the guest gets EIO path="\/broken"\n.*a bug in setattr/)
  t.equal(write('plain'), 'no error')
  const calls = guest.lookup(1n, 'calls').nodeid
  const text = Buffer.from(guest.read(calls, guest.open(calls, O_RDONLY).handle, 0, 4096)).toString()
  t.equal(text, 'setattr 755, setattr 755, write plain')
  t.equal(guest.lookup(1n, 'unknown').attrValidNs, 7_000_000_000n, 'a node that chooses its own time')
})
