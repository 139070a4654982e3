/**
 * The host mounts file systems on demand: autofs, systemd's automounts, exports of NFS below others. A guest that walks into
 * such a directory sees the file system, and a listing makes the host mount nothing.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { Device, type DeviceOptions } from '../support/device/device.js'
import { ATTR_SUBMOUNT, ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { shareWithAutomount } from '../support/host/automount.js'

const OTHERS = 5

const ways: Readonly<Record<string, (fs: FuseGuest) => void>> = {
  'by the first lookup': () => {},
  'behind lookups of new names': (fs) => {
    for (let n = 0; n < OTHERS; n++) fs.lookup(ROOT_ID, `other-${n}`)
  },
  'behind a listing': (fs) => {
    fs.readdirplus(ROOT_ID, fs.opendir(ROOT_ID).handle, 0)
  },
  'behind two listings': (fs) => {
    for (let n = 0; n < 2; n++) fs.readdirplus(ROOT_ID, fs.opendir(ROOT_ID).handle, 0)
  },
}

if (!isRoot) t.plan(0, 'needs root: it mounts file systems')
else
  for (const sandbox of ['none', 'namespace', 'chroot'] satisfies DeviceOptions['sandbox'][]) {
    for (const [way, before] of Object.entries(ways)) {
      t.test(`${way} (--sandbox ${sandbox})`, async (t) => {
        const share = await shareWithAutomount(t)
        if (share === undefined) {
          t.pass('autofs', { skip: 'this host has no autofs' })
          return
        }
        const { directory } = share
        for (let n = 0; n < OTHERS; n++) mkdirSync(join(directory, `other-${n}`))
        const device = await Device.start(t, [], { directory, sandbox })
        const fs = mount(t, device)
        before(fs)
        t.equal(await share.countMounts(), 0, 'nothing is mounted before somebody wants it')
        const { nodeid, attr } = fs.lookup(ROOT_ID, 'auto')
        t.equal(await share.countMounts(), 1)
        t.equal(attr.flags & ATTR_SUBMOUNT, ATTR_SUBMOUNT)
        fs.lookup(nodeid, 'inside')
        const listed = fs.readdirplus(nodeid, fs.opendir(nodeid).handle, 0).map(({ name }) => name)
        t.ok(listed.includes('inside'))
        const { entry } = fs
          .readdirplus(ROOT_ID, fs.opendir(ROOT_ID).handle, 0)
          .find(({ name }) => name === 'auto')!
        t.equal(entry?.nodeid, nodeid, 'a listing shows it once it is mounted')
        fs.close()
      })
    }
  }
