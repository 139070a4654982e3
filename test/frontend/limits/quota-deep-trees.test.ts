/** Very deep directories do not keep a share from starting again, and everything in them is counted. */
import { execFileSync } from 'node:child_process'
import t from 'tap'
import type { LimitsReport } from '../../../src/share/share-limits.js'
import { startControlled } from '../../support/device/control-client.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const DEPTH = 6000

t.test('a tree deeper than the limit of open files', async (t) => {
  const directory = tempDir(t)
  t.teardown(() => execFileSync('rm', ['-rf', directory]))
  const args = ['--quota-inodes', '100000', '--rlimit-nofile', '1024']
  const inodesOf = async (control: { ask<T>(command: string, argument?: unknown): Promise<T> }) =>
    (await control.ask<LimitsReport>('limits', { recount: true })).quota?.usedInodes
  const { device, control } = await startControlled(t, args, { directory })
  const fs = mount(t, device)
  let parent = BigInt(ROOT_ID)
  for (let n = 0; n < DEPTH; n++) {
    const { nodeid } = fs.mkdir(parent, 'd')
    fs.mknod(nodeid, 'f', 0o100644)
    parent = BigInt(nodeid)
  }
  t.equal(await inodesOf(control), 1 + 2 * DEPTH)
  fs.close()
  await device.stop()
  const again = await startControlled(t, args, { directory })
  t.equal(await inodesOf(again.control), 1 + 2 * DEPTH)
})
