/**
 * When set-user-id and set-group-id bits are cleared, with and without FUSE_HANDLE_KILLPRIV_V2, and what guests see of
 * it.
 */
import { chmodSync, constants, mkdirSync, statSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { EVERY_FLAG, ROOT_ID, WRITE_KILL_SUIDGID } from '../../support/fuse/fuse-abi.js'
import type { AttrChange } from '../../support/fuse/fuse-args.js'
import type { InitOffer } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { listxattr, setxattr } from '../../support/fuse/posix-calls.js'

const { O_RDWR } = constants
const byte = Uint8Array.of(1)
const allBits = 0o6777
const CAPABILITY = 'security.capability'
/** CAP_NET_RAW, permitted and effective. */
const NET_RAW = new Uint8Array([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])

t.test(
  'a WRITE with the flag clears set-id bits, agreed on or not, as Linux asks with direct writes',
  async (t) => {
    const device = await Device.start(t, ['--cache', 'never', '--no-killpriv-v2'])
    const path = `${device.directory}/file`
    writeFileSync(path, '')
    chmodSync(path, allBits)
    const fs = mount(t, device, { init: { flags: EVERY_FLAG } })
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    const { handle } = fs.open(nodeid, O_RDWR)
    const bits = () => statSync(path).mode & 0o7777

    // For other users than root the host clears them at every change.
    if (process.geteuid?.() === 0) {
      fs.fallocate(nodeid, handle, 0, 100)
      fs.copyFileRange([nodeid, handle, 0], [nodeid, handle, 100], 1)
      t.equal(bits(), allBits, 'the guest has taken what had to go before these')
      fs.write(nodeid, handle, 0, byte)
      t.equal(bits(), allBits, 'a writer that may keep them')
    }
    fs.write(nodeid, handle, 0, byte, 0, WRITE_KILL_SUIDGID)
    t.equal(bits(), 0o777)
  },
)

t.test('attributes of set-id files are not cached, because the device clears their bits', async (t) => {
  const device = await Device.start(t, ['--cache', 'always'])
  const day = 86_400_000_000_000n
  const fs = mount(t, device, { init: { flags: EVERY_FLAG } })
  const validity = (name: string) => {
    const { nodeid, entryValidNs, attrValidNs } = fs.lookup(ROOT_ID, name)
    t.equal(fs.getattr(nodeid).validNs, attrValidNs, `${name}: GETATTR says the same`)
    return [entryValidNs, attrValidNs]
  }
  for (const mode of [0o4755, 0o2755, 0o2644]) {
    const name = mode.toString(8)
    writeFileSync(`${device.directory}/${name}`, '')
    chmodSync(`${device.directory}/${name}`, mode)
    t.same(validity(name), [day, 0n], name)
  }
  writeFileSync(`${device.directory}/plain`, '')
  t.same(validity('plain'), [day, day])
  mkdirSync(`${device.directory}/directory`)
  chmodSync(`${device.directory}/directory`, 0o2755)
  t.same(validity('directory'), [day, day], 'a directory keeps its bit')
})

t.test('without the flag the guest clears the bits itself, and may keep every mode', async (t) => {
  const device = await Device.start(t, ['--cache', 'always', '--no-killpriv-v2'])
  writeFileSync(`${device.directory}/file`, '')
  chmodSync(`${device.directory}/file`, 0o6755)
  const fs = mount(t, device, { init: { flags: EVERY_FLAG } })
  t.ok(fs.lookup(ROOT_ID, 'file').attrValidNs > 0n)
})

/** A set-user-id program with a capability, whose attributes the guest changes. */
async function change(
  t: Test,
  args: readonly string[],
  attributes: AttrChange,
  init: InitOffer = { flags: EVERY_FLAG },
) {
  const device = await Device.start(t, args, { storage: 'disk' })
  const path = `${device.directory}/program`
  writeFileSync(path, '')
  const fs = mount(t, device, { init })
  const { nodeid } = fs.lookup(ROOT_ID, 'program')
  fs.setattr(nodeid, { mode: 0o6755 })
  const hasXattrs = !args.includes('--no-xattr')
  if (hasXattrs) setxattr(fs, nodeid, CAPABILITY, NET_RAW)
  const { mode, uid } = fs.setattr(nodeid, attributes).attr
  t.equal(statSync(path).mode, mode)
  t.equal(uid, attributes.uid ?? 0)
  return { mode: mode & 0o7777, hasCapability: hasXattrs && listxattr(fs, nodeid).includes(CAPABILITY) }
}

const asRoot = { skip: !isRoot && 'needs root: it changes owners' }
const owner = { uid: 1000, gid: 1000 }

t.test(
  'a guest that takes privileges away itself keeps them with a new owner or size, as overlayfs does',
  asRoot,
  async (t) => {
    const args = ['--no-killpriv-v2']
    t.same(await change(t, args, owner), { mode: 0o6755, hasCapability: true })
    t.same(await change(t, args, { ...owner, mode: 0o755 }), { mode: 0o755, hasCapability: true })
    t.same(await change(t, args, { size: 0 }), { mode: 0o6755, hasCapability: true })
    const mapped = [...args, '--xattrmap', ':map:security.capability:user.virtiofs.:']
    t.same(await change(t, mapped, owner), { mode: 0o6755, hasCapability: true })
    t.same(await change(t, mapped, { size: 0 }), { mode: 0o6755, hasCapability: true })
  },
)

t.test(
  'where the guest cannot do so, and where the device does, a new owner or size takes them away',
  asRoot,
  async (t) => {
    t.same(await change(t, [], { ...owner, kill: true }), { mode: 0o755, hasCapability: false })
    t.same(await change(t, [], { size: 0, kill: true }), { mode: 0o755, hasCapability: false })
    // A driver of a small system offers nothing at INIT, and takes nothing away.
    for (const attributes of [owner, { size: 0 }]) {
      const { hasCapability } = await change(t, [], attributes, { flags: 0n })
      t.notOk(hasCapability)
    }
    t.equal((await change(t, [], owner, { flags: 0n })).mode, 0o755)
    t.same(await change(t, ['--no-killpriv-v2', '--no-xattr'], owner), {
      mode: 0o6755,
      hasCapability: false,
    })
  },
)

t.test('a mode that comes with an owner is the mode', asRoot, async (t) => {
  for (const args of [[], ['--no-killpriv-v2']])
    t.equal((await change(t, args, { ...owner, mode: 0o4711 })).mode, 0o4711)
})

t.test('with --no-suid no program gets another owner and keeps its bits', asRoot, async (t) => {
  const device = await Device.start(t, ['--no-killpriv-v2', '--no-suid'])
  const path = `${device.directory}/program`
  writeFileSync(path, '')
  chmodSync(path, 0o4755)
  const fs = mount(t, device, { init: { flags: EVERY_FLAG } })
  const { nodeid } = fs.lookup(ROOT_ID, 'program')
  t.equal(fs.setattr(nodeid, owner).attr.mode & 0o7777, 0o755)
})
