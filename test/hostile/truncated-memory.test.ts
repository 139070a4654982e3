/**
 * A front-end truncates the file of its guest's memory, or of its log: an access beyond its new end raises SIGBUS in
 * the device. The front-end is disconnected. The process and its other shares go on.
 */
import { ftruncateSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { featureBits, VirtioFeature } from '#vhost-user/protocol'
import { LogBase } from '#vhost-user/session/wire'
import { Device } from '../support/device/device.js'
import { assertLogged, assertSurvival } from '../support/device/survival.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { mustBeClosed } from '../support/fuse/must-be-closed.js'
import { MemoryFiles } from '../support/host/memory-files.js'
import { tempDir } from '../support/host/temp-dir.js'

const MIB = 1 << 20
const MEMORY_BYTES = 16 * MIB
const PROMISES = fileURLToPath(new URL('../support/file-systems/promised-memory.js', import.meta.url))
const kinds: Readonly<Record<string, { args?: readonly string[]; sandbox?: 'namespace' }>> = {
  'a directory': {},
  'a sealed process': { sandbox: 'namespace' },
  'a file system of promises': { args: ['--file-system', PROMISES] },
}

function kick(fs: FuseGuest): void {
  fs.frontend.queues[REQUEST_QUEUE].kick()
}

for (const [kind, { args = [], ...options }] of Object.entries(kinds)) {
  t.test(kind, async (t) => {
    const socket = join(tempDir(t), 'other')
    const other = ['--share', `tag=other,path=${tempDir(t)},socket=${socket}`]
    const device = await Device.start(t, ['--keep-alive', '--tag', 'first', ...args, ...other], options)
    const neighbour = mount(t, { socketPath: socket })
    const heldBefore = device.fdCount()

    const attacks: Readonly<Record<string, (fs: FuseGuest, files: MemoryFiles) => void>> = {
      'all of memory': (fs, { fds }) => {
        ftruncateSync(fds[0], 0)
        kick(fs)
      },
      'the memory of a request': (fs, { fds }) => {
        // The rings lie at the beginning.
        const { frontend } = fs
        const request = frontend.write(12 * MIB, new Uint8Array(56))
        frontend.queues[REQUEST_QUEUE].submit([request], [{ gpa: 13 * MIB, lenBytes: 120 }])
        ftruncateSync(fds[0], 8 * MIB)
        kick(fs)
      },
      'memory in the middle of a load': (fs, { fds }) => {
        for (let n = 0; n < 20; n++) fs.start(fs.getattrRequest(ROOT_ID))
        ftruncateSync(fds[0], 0)
        kick(fs)
      },
      'the log': (fs, files) => {
        const { frontend } = fs
        const fd = files.make(MIB)
        LogBase.write(frontend.connection.body, MIB, 0)
        frontend.send(FrontendRequest.SET_LOG_BASE, LogBase.BYTES, false, Int32Array.of(fd))
        frontend.receive(FrontendRequest.SET_LOG_BASE)
        const { features } = frontend
        frontend.setU64(FrontendRequest.SET_FEATURES, features | featureBits(VirtioFeature.VHOST_LOG_ALL))
        fs.getattr(ROOT_ID)
        ftruncateSync(fd, 0)
        fs.getattr(ROOT_ID)
      },
    }
    for (const [name, attack] of Object.entries(attacks)) {
      // A device that cannot be migrated has no log.
      if (name === 'the log' && args.length > 0) continue
      await t.test(name, async (t) => {
        const files = new MemoryFiles(t)
        const fs = mount(t, device, { regionBytes: [MEMORY_BYTES], makeMemory: files.make })
        attack(fs, files)
        mustBeClosed(t, fs)
        await assertLogged(t, device, 'front-end has truncated the file of its memory or its log: closed')
        await device.waitForFdCount(heldBefore)
        t.ok(neighbour.getattr(ROOT_ID).attr.ino > 0n, 'the other share goes on')
      })
    }
    await assertSurvival(t, device, heldBefore)
  })
}
