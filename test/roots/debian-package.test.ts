/** The package of `make deb` in a Debian 13, installed without a network: docs/install.md, word for word. */
import { copyFileSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expectToServe } from '../support/device/served-directory.js'
import { FreshRoot } from '../support/host/fresh-root.js'

const RELEASE = fileURLToPath(new URL('../../../release', import.meta.url))
const FILES = [
  '/etc/apparmor.d/virtiofsd-ts',
  '/usr/bin/virtiofsd-ts',
  '/usr/lib/systemd/system/virtiofsd-ts@.socket',
  '/usr/share/bash-completion/completions/virtiofsd-ts',
  '/usr/share/man/man1/virtiofsd-ts.1.gz',
  '/usr/share/qemu/vhost-user/50-virtiofsd-ts.json',
]

t.setTimeout(600_000)

t.test('the package is installed, serves, and is purged without leaving a file', async (t) => {
  const name = readdirSync(RELEASE).find((file) => file.endsWith('_amd64.deb')) as string
  const root = await FreshRoot.make(t, 'trixie', ['nodejs', 'systemd'])
  root.run('apt-get install -qy --no-install-recommends nodejs')
  const before = root.paths()
  copyFileSync(join(RELEASE, name), join(root.path, 'tmp', name))

  root.run(`apt-get install -qy --no-install-recommends /tmp/${name}`)
  // Debian's smallest system leaves out manuals.
  const installed = FILES.filter((file) => !file.includes('/man/'))
  for (const file of installed) t.ok(root.run(`test -e ${file} && echo there`), file)
  t.match(root.run('virtiofsd-ts --version'), /^\d+\.\d+\.\d+\n$/)
  const [inside, outside] = ['/tmp/serving', join(root.path, 'tmp/serving')]
  const log = await expectToServe(t, { words: root.words('/usr/bin/virtiofsd-ts'), inside, outside })
  t.match(log, '"sandbox":"namespace"')
  t.ok(existsSync(join(outside, 'share/made')), 'what the guest made is in the share')

  root.run('apt-get purge -qy virtiofsd-ts')
  t.same(root.paths(), before)
})
