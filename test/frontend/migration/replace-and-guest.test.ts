/** A device is replaced under guests that were started again, or that are about to move to another host. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DirtyPages } from 'vhost-user-ts/frontend'
import * as native from 'virtiofsd-ts-native'
import { LogBase } from '#vhost-user/session/wire'
import { LiveDevice } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { Req } from '../../support/rings/session-peer.js'

t.test('the names of a guest that was started again lead to the inodes that it knows', async (t) => {
  const live = await LiveDevice.start(t)
  writeFileSync(join(live.device.directory, 'file'), '')
  const fs = mount(t, live.device)
  fs.lookup(ROOT_ID, 'file')
  fs.init()
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  await live.replace()
  t.equal(fs.lookup(ROOT_ID, 'file').nodeid, nodeid)
})

t.test('while a guest moves, and from the log that comes before, its device stays', async (t) => {
  const live = await LiveDevice.start(t)
  const fs = mount(t, live.device)
  const { frontend } = fs
  const refusal = () => t.rejects(live.replace(), /the guest is being migrated/)
  const [memfd, lenBytes] = [native.memfdCreate(1 << 20), 1 << 20]
  LogBase.write(frontend.connection.body, lenBytes, 0)
  frontend.send(Req.SET_LOG_BASE, LogBase.BYTES, false, Int32Array.of(memfd))
  frontend.receive(Req.SET_LOG_BASE)
  native.close(memfd)
  await refusal()
  const pages = new DirtyPages(frontend)
  await refusal()
  pages.end()
  await live.replace()
  fs.mkdir(ROOT_ID, 'made')
})
