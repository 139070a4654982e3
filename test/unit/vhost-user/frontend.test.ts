import { join } from 'node:path'
import t from 'tap'
import { SystemCallError } from 'vhost-user-ts'
import { Frontend } from 'vhost-user-ts/frontend'
import * as native from 'virtiofsd-ts-native'
import { checkNoFdLeak, ok } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const ENOENT = 2
const ECONNREFUSED = 111

t.test('a front-end that finds nobody leaves nothing behind, however often it tries', async (t) => {
  const directory = tempDir(t)
  const missing = join(directory, 'missing')
  const stale = join(directory, 'stale')
  native.close(ok(native.unixListen(stale, 0o600)))
  checkNoFdLeak(t, () => {
    // More often than a thread may have guest memories.
    for (let n = 0; n < 100; n++) {
      t.throws(() => new Frontend(missing), new SystemCallError('connect', -ENOENT))
      t.throws(() => new Frontend(stale), new SystemCallError('connect', -ECONNREFUSED))
    }
  })
})
