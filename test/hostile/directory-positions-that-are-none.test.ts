/** After a READDIR at a position that the host refuses, the next READDIR has every name. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Device } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'

const NAMES = 500
const ROOM_BYTES = 4096

t.test('every name is listed once', async (t) => {
  const device = await Device.start(t)
  const path = join(device.directory, 'many')
  mkdirSync(path)
  for (let n = 0; n < NAMES; n++) writeFileSync(join(path, `a-name-${n}`), '')
  const fs = mount(t, device)
  const directory = fs.lookup(ROOT_ID, 'many').nodeid
  const { handle } = fs.opendir(directory)
  const names: string[] = []
  for (let at = 0n; ; ) {
    const entries = fs.readdir(directory, handle, at, ROOM_BYTES)
    if (entries.length === 0) break
    names.push(...entries.map(({ name }) => name))
    at = entries.at(-1)!.off
    t.throws(() => fs.readdir(directory, handle, 2n ** 63n, ROOM_BYTES), { code: 'EINVAL' })
  }
  t.equal(new Set(names).size, NAMES + 2)
  t.equal(names.length, NAMES + 2)
})
