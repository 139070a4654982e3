/** The supported versions of Node besides the one that runs the tests; they come from npm. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expectToServe } from '../support/device/served-directory.js'
import { tempDir } from '../support/host/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const FETCH = join(ROOT, 'packaging/fetch-node.sh')
const SUITES = [
  'dist/test/unit/vhost-user',
  'dist/test/unit/virtio-fs',
  'dist/test/unit/native',
  'dist/test/wire',
]

t.setTimeout(900_000)

for (const major of ['22', '24']) {
  t.test(`Node ${major}`, async (t) => {
    const node = join(execFileSync(FETCH, [major, 'x64'], { encoding: 'utf8' }).trim(), 'bin/node')
    t.match(execFileSync(node, ['--version'], { encoding: 'utf8' }), `v${major}.`)
    for (const suite of SUITES) {
      for (const file of readdirSync(join(ROOT, suite)).filter((name) => name.endsWith('.test.js'))) {
        const { status, stdout } = spawnSync(
          'env',
          ['-i', `PATH=${process.env['PATH']}`, node, join(ROOT, suite, file)],
          { encoding: 'utf8', maxBuffer: 64 << 20 },
        )
        t.equal(status, 0, `${suite}/${file}`)
        if (status !== 0) t.comment(stdout.slice(-2000))
      }
    }
    const place = tempDir(t)
    const words = [node, join(ROOT, 'dist/program/main.js')]
    const log = await expectToServe(t, { words, inside: place, outside: place })
    t.match(log, '"sandbox":"namespace"')
  })
}
