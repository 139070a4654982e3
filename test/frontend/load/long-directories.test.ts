/** Socket paths relative to a directory whose own path is longer than a socket path may be. */
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { Device } from '../../support/device/device.js'
import { tempDir } from '../../support/host/temp-dir.js'

for (const sandbox of isRoot ? (['none', 'namespace'] as const) : (['none'] as const))
  for (const kind of ['with a control socket', 'without'])
    t.test(`--sandbox ${sandbox}, ${kind}: no file is left`, async (t) => {
      const place = join(tempDir(t), 'd'.repeat(200), 'here')
      mkdirSync(place, { recursive: true })
      const args = ['--keep-alive', '--share', `tag=b,path=${tempDir(t)},socket=b.sock`]
      const control = kind === 'without' ? [] : ['--control-socket', 'control']
      const launcher = ['env', '-C', place]
      const device = await Device.start(t, [...args, ...control], { sandbox, launcher })
      t.ok(readdirSync(place).includes('b.sock'))
      device.kill('SIGTERM')
      t.same(await device.exited(), { status: 0, signal: null })
      t.same(readdirSync(place), [])
    })
