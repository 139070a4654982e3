/** The tarball of `make dist` in a Debian 12 that has neither Node nor a network: docs/install.md, word for word. */
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expectToServe } from '../support/device/served-directory.js'
import { FreshRoot } from '../support/host/fresh-root.js'

const RELEASE = fileURLToPath(new URL('../../../release', import.meta.url))

t.setTimeout(600_000)

t.test('the tarball is unpacked, serves, and is removed without leaving a file', async (t) => {
  const name = readdirSync(RELEASE).find((file) => file.endsWith('-linux-x64.tar.gz')) as string
  const folder = name.replace('.tar.gz', '')
  const root = await FreshRoot.make(t, 'bookworm')
  t.throws(() => root.run('node --version'), 'there is no Node')
  const before = root.paths()
  for (const file of [name, 'SHA256SUMS']) copyFileSync(join(RELEASE, file), join(root.path, 'tmp', file))

  root.run(`cd /tmp && sha256sum --check --ignore-missing SHA256SUMS`)
  root.run(`tar -xzf /tmp/${name} -C /opt && ln -s /opt/${folder}/bin/virtiofsd-ts /usr/local/bin/`)
  t.match(root.run('virtiofsd-ts --version'), /^\d+\.\d+\.\d+\n$/)
  const [inside, outside] = ['/tmp/serving', join(root.path, 'tmp/serving')]
  const log = await expectToServe(t, { words: root.words('/usr/local/bin/virtiofsd-ts'), inside, outside })
  t.match(log, '"sandbox":"namespace"')
  t.match(log, '"ioctl":"ioctl-napi"')
  t.ok(existsSync(join(outside, 'share/made')), 'what the guest made is in the share')
  for (const file of ['share/systemd/virtiofsd-ts@.service', 'share/vhost-user/50-virtiofsd-ts.json'])
    t.match(readFileSync(join(root.path, 'opt', folder, file), 'utf8'), '/usr/local/bin/virtiofsd-ts')

  root.run(`rm -r /usr/local/bin/virtiofsd-ts /opt/${folder}`)
  t.same(root.paths(), before)
})
