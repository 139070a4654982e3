/** The arm64 tarball, run by qemu-user: the program, the protocol's unit tests, and a device that serves. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expectToServe } from '../support/device/served-directory.js'
import { tempDir } from '../support/host/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const RELEASE = join(ROOT, 'release')
/** From Debian's libc6-arm64-cross and libstdc++6-arm64-cross. */
const LIBRARIES = '/usr/aarch64-linux-gnu'
const NOBODY = 65534

t.setTimeout(900_000)

t.test('arm64', async (t) => {
  const name = readdirSync(RELEASE).find((file) => file.endsWith('-linux-arm64.tar.gz')) as string
  const home = tempDir(t)
  execFileSync('tar', ['-xzf', join(RELEASE, name), '-C', home, '--strip-components=1'])
  execFileSync('chmod', ['755', home])
  const lib = join(home, 'lib/virtiofsd-ts')
  const qemu = ['qemu-aarch64-static', '-L', LIBRARIES]
  const node = [...qemu, join(lib, 'node')]
  const words = [...node, join(lib, 'dist/program/main.js')]
  const run = (line: readonly string[], environment: readonly string[] = []) =>
    spawnSync('env', ['-i', `PATH=${process.env['PATH']}`, ...environment, ...line], { encoding: 'utf8' })

  t.equal(run([...node, '-p', 'process.arch']).stdout, 'arm64\n')
  t.match(run([...words, '--version']).stdout, /^\d+\.\d+\.\d+\n$/)

  t.test('the unit tests of the protocols pass', async (t) => {
    const addon = join(lib, 'node_modules/virtiofsd-ts-native/prebuilds/linux-arm64/native.glibc.node')
    for (const suite of ['dist/test/unit/vhost-user', 'dist/test/unit/virtio-fs']) {
      for (const file of readdirSync(join(ROOT, suite)).filter((file) =>
        /wire.*\.test\.js$|chain.*\.test\.js$|virtqueue\.test\.js$/.test(file),
      )) {
        const { status, stdout } = run([...node, join(ROOT, suite, file)], [`VIRTIOFSD_TS_NATIVE=${addon}`])
        t.equal(status, 0, `${suite}/${file}`)
        if (status !== 0) t.comment(stdout.slice(-2000))
      }
    }
  })

  // qemu-user cannot start the launcher, an arm64 program, in its own place, so there is no sandbox and no change of
  // identity.
  t.test('the device serves', async (t) => {
    const place = tempDir(t)
    execFileSync('chmod', ['777', place])
    const asNobody = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...words]
    const log = await expectToServe(t, {
      words: asNobody,
      inside: place,
      outside: place,
      args: ['--sandbox', 'none', '--seccomp', 'none', '--inode-file-handles', 'never'],
    })
    t.match(log, '"ioctl":"ioctl-napi"')
    t.ok(existsSync(join(place, 'share/file')))
  })
})
