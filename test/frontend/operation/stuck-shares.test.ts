/**
 * The host's file system blocks the thread of a share: only this share is late, and its commands are done in the end.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReportedShare } from '../../../src/control/share-reports.js'
import { type Answer, ControlClient } from '../../support/device/control-client.js'
import { Device } from '../../support/device/device.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, cstring, u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const O_RDONLY = 0
const FOPEN_DIRECT_IO = 1
const WAITS = /the share stuck waits for the host's file system, and changes when that answers/
const dir = tempDir(t)
const directory = join(dir, 'share')
const disk = DiskImage.mount(t, directory, join(dir, 'image'))
const skip =
  disk === undefined && 'needs root, mkfs.ext4, fsfreeze and a loop device: it freezes a file system'

/** Mounts the share at a socket and has its thread make a directory. Resolves when the frozen file system blocks it. */
async function hang(t: Test, control: ControlClient, socketPath: string, name: string): Promise<FuseGuest> {
  const fs = mount(t, { socketPath })
  t.ok(disk?.freeze())
  t.teardown(() => disk?.unfreeze())
  const args = concat(u32(0o755, 0), cstring(name))
  fs.start({ opcode: Op.MKDIR, nodeid: ROOT_ID, args, reply: { argBytes: 128 } })
  for (;;) {
    const reports = await control.ask<readonly ReportedShare[]>('report')
    if (reports.some(({ state }) => state === 'busy')) return fs
  }
}

const ask = (
  client: ControlClient,
  command: string,
  argument: unknown,
  share: string,
): Promise<Answer | undefined> => client.line(JSON.stringify({ command, argument, share }))

for (const sandbox of ['none', 'namespace'] as const)
  t.test(
    `--sandbox ${sandbox}: settings and the end of a share that is stuck, beside others`,
    { skip },
    async (t) => {
      const live = await LiveDevice.start(t, ['--tag', 'stuck'], { directory, sandbox })
      const control = await live.control()
      await (await live.changes()).ask('share-add', live.share('other').words)
      const fs = await hang(t, control, live.device.socketPath, sandbox)
      t.match(await ask(control, 'set', { cache: 'never' }, 'stuck'), { ok: false, error: WAITS })
      t.match(await (await live.changes()).refusal('share-remove', 'stuck'), WAITS)
      const changes = await live.changes()
      await changes.ask('share-add', live.share('third').words)
      await changes.ask('share-remove', 'other')
      t.match(await control.ask('shares'), [{ name: 'third' }])
      const isGone = () =>
        live.device.logs().some((line) => line.msg === 'share removed' && line.directory === directory)
      t.notOk(isGone(), 'the host still holds it')
      t.ok(disk?.unfreeze())
      await until(isGone, () => 'the share was never removed')
      t.equal(fs.finish().reply?.error, 0, 'what was under way is carried out')
      refused(t, 'ENOTCONN', () => fs.getattr(ROOT_ID))
    },
  )

t.test('a reload changes the shares that answer, and says which does not', { skip }, async (t) => {
  const [place, free] = [tempDir(t), tempDir(t)]
  writeFileSync(join(free, 'file'), '')
  const [config, controlPath] = [join(place, 'shares.toml'), join(place, 'control')]
  const describe = (cache: string) =>
    ['stuck', 'free']
      .map((tag) => {
        const path = tag === 'stuck' ? directory : free
        return `[[share]]\ntag = "${tag}"\npath = "${path}"\nsocket = "${place}/${tag}.sock"\ncache = "${cache}"\n`
      })
      .join('')
  writeFileSync(config, describe('auto'))
  await Device.start(t, ['--keep-alive', '--config', config, '--control-socket', controlPath])
  const fs = mount(t, { socketPath: join(place, 'free.sock') })
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  t.equal(fs.open(nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO, 0)
  const control = await ControlClient.connect(t, controlPath)
  await hang(t, control, join(place, 'stuck.sock'), 'by-reload')
  writeFileSync(config, describe('never'))
  const changes = await ControlClient.connect(t, `${controlPath}.live`)
  t.match(await changes.refusal('reload'), WAITS)
  t.equal(fs.open(nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO, FOPEN_DIRECT_IO)
})

t.test(
  'a share that is stuck keeps the process from being replaced, and no other share',
  { skip },
  async (t) => {
    const live = await LiveDevice.start(t, ['--tag', 'stuck'], { directory, sandbox: 'namespace' })
    const other = live.share('other')
    await (await live.changes()).ask('share-add', other.words)
    const fs = mount(t, other)
    const stuck = await hang(t, await live.control(), live.device.socketPath, 'by-replace')
    t.match(await (await live.changes()).refusal('replace'), /a share waits for the host's file system/)
    fs.mkdir(ROOT_ID, 'while-it-waits')
    t.ok(disk?.unfreeze())
    t.equal(stuck.finish().reply?.error, 0)
    await live.replace()
    fs.mkdir(ROOT_ID, 'afterwards')
    stuck.mkdir(ROOT_ID, 'later')
    t.same(readdirSync(other.directory).sort(), ['afterwards', 'while-it-waits'])
  },
)
