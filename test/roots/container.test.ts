/**
 * buildah builds packaging/Containerfile on a Debian 13 of the test's own, and the image serves as docs/install.md
 * says.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expectToServe } from '../support/device/served-directory.js'
import { FreshRoot } from '../support/host/fresh-root.js'
import { tempDir } from '../support/host/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** The stand-in for Debian's image, which comes from a registry. */
const BASE = 'localhost/debian-trixie'

t.setTimeout(900_000)

t.test('built, and serves', async (t) => {
  const storage = tempDir(t)
  const buildah = (...args: readonly string[]) => {
    const place = [
      '--root',
      join(storage, 'root'),
      '--runroot',
      join(storage, 'run'),
      '--storage-driver',
      'vfs',
    ]
    return execFileSync('buildah', [...place, ...args], { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim()
  }
  const debian = await FreshRoot.make(t, 'trixie')
  const packed = join(storage, 'debian.tar')
  execFileSync('tar', ['-C', debian.path, '--one-file-system', '-cf', packed, '.'])
  const base = buildah('from', 'scratch')
  buildah('add', base, packed, '/')
  buildah('commit', '--rm', base, BASE)

  const file = ['-f', 'packaging/Containerfile', '--build-arg', `BASE=${BASE}`]
  buildah('build', '--isolation', 'chroot', ...file, '-t', 'virtiofsd-ts', '.')
  const { OCIv1 } = JSON.parse(buildah('inspect', '--type', 'image', 'virtiofsd-ts')) as {
    OCIv1: { config: { Entrypoint: string[] } }
  }
  t.same(OCIv1.config.Entrypoint, ['/usr/bin/virtiofsd-ts'])
  const container = buildah('from', 'localhost/virtiofsd-ts')
  t.match(
    buildah('run', '--isolation', 'chroot', container, '--', ...OCIv1.config.Entrypoint, '--version'),
    /^\d/,
  )

  const stored = buildah('mount', container)
  // The root is a mount, as in a container, and its path is short enough for sockets.
  const root = tempDir(t)
  execFileSync('mount', ['--bind', stored, root])
  t.teardown(() => {
    execFileSync('umount', ['--recursive', '--lazy', root])
    buildah('umount', container)
  })
  execFileSync('mount', ['-t', 'proc', 'proc', join(root, 'proc')])
  const [inside, outside] = ['/srv', join(root, 'srv')]
  const log = await expectToServe(t, { words: ['chroot', root, ...OCIv1.config.Entrypoint], inside, outside })
  t.match(log, '"sandbox":"namespace"')
  t.ok(existsSync(join(outside, 'share/made')), 'what the guest made is in the share')
})
