/** The units of `make deb` under a real systemd, in namespaces of its own: docs/install.md, word for word. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { attach } from '../support/fuse/mount.js'
import { FreshRoot } from '../support/host/fresh-root.js'
import { Systemd } from '../support/host/systemd.js'

const RELEASE = fileURLToPath(new URL('../../../release', import.meta.url))

t.setTimeout(900_000)

const root = await FreshRoot.make(t, 'trixie', ['nodejs', 'systemd'])
const deb = readdirSync(RELEASE).find((file) => file.endsWith('_amd64.deb')) as string
copyFileSync(join(RELEASE, deb), join(root.path, 'root', deb))
root.run(`apt-get install -qy --no-install-recommends systemd /root/${deb}`)
const systemd = await Systemd.boot(t, root)
for (const name of ['data', 'db']) {
  mkdirSync(systemd.path(`/srv/${name}`))
  writeFileSync(systemd.path(`/srv/${name}/file`), 'content')
}

/** A guest that reads a file and makes a directory. */
function mountAndUse(t: Test, socket: string) {
  const fs = attach(t, { socketPath: systemd.path(socket) })
  fs.init()
  t.equal(fs.lookup(1n, 'file').attr.size, 7n)
  return fs
}

t.test('a socket starts its device when a guest comes, and the device ends with it', async (t) => {
  const service = 'virtiofsd-ts@srv-data.service'
  t.equal(systemd.run('systemd-escape', '--path', '/srv/data'), 'srv-data')
  systemd.run('systemctl', 'enable', '--now', 'virtiofsd-ts@srv-data.socket')
  t.equal(systemd.property(service, 'ActiveState'), 'inactive')
  for (const round of [1, 2]) {
    const fs = mountAndUse(t, '/run/virtiofsd-ts/srv-data.sock')
    t.equal(systemd.property(service, 'ActiveState'), 'active', `guest ${round}`)
    t.equal(systemd.property(service, 'StatusText'), 'Serving /srv/data')
    fs.mkdir(1n, `made-${round}`)
    t.ok(existsSync(systemd.path(`/srv/data/made-${round}`)), 'written through a read-only host')
    fs.close()
    await systemd.reaches(service, 'ActiveState', 'inactive')
    t.equal(systemd.property(service, 'Result'), 'success')
  }
})

t.test('the file of a share sets its options', async (t) => {
  mkdirSync(systemd.path('/etc/virtiofsd-ts'), { recursive: true })
  writeFileSync(
    systemd.path('/etc/virtiofsd-ts/srv-data.env'),
    'VIRTIOFSD_TS_OPTIONS=--readonly --cache never\n',
  )
  const fs = mountAndUse(t, '/run/virtiofsd-ts/srv-data.sock')
  t.throws(() => fs.mkdir(1n, 'refused'), /EROFS/)
  fs.close()
  await systemd.reaches('virtiofsd-ts@srv-data.service', 'ActiveState', 'inactive')
})

t.test('a device that hangs is ended by the watchdog, and the next guest gets another', async (t) => {
  const service = 'virtiofsd-ts@srv-data.service'
  mkdirSync(systemd.path(`/run/systemd/system/${service}.d`), { recursive: true })
  writeFileSync(
    systemd.path(`/run/systemd/system/${service}.d/watchdog.conf`),
    '[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\nRestart=no\n',
  )
  systemd.run('systemctl', 'daemon-reload')
  const fs = mountAndUse(t, '/run/virtiofsd-ts/srv-data.sock')
  // The unit's main process is the keeper, which only waits: what hangs is the one that runs Node.
  const script =
    'for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" != /usr/bin/node ] || echo $(basename $p); done'
  const serving = systemd.run('sh', '-c', script)
  t.match(serving, /^\d+$/, 'one process')
  systemd.run('sh', '-c', `kill -STOP ${serving}`)
  await systemd.reaches(service, 'Result', 'watchdog')
  await systemd.reaches(service, 'ActiveState', 'failed')
  fs.close()
  systemd.run('rm', '-r', `/run/systemd/system/${service}.d`)
  systemd.run('systemctl', 'daemon-reload')
  systemd.run('systemctl', 'reset-failed', service)
  systemd.run('systemctl', 'restart', 'virtiofsd-ts@srv-data.socket')
  mountAndUse(t, '/run/virtiofsd-ts/srv-data.sock').close()
  systemd.run('systemctl', 'disable', '--now', 'virtiofsd-ts@srv-data.socket')
  await systemd.reaches(service, 'ActiveState', 'inactive')
  t.notOk(existsSync(systemd.path('/run/virtiofsd-ts/srv-data.sock')), 'the socket goes with its unit')
})

t.test('several shares of a configuration file, until they are stopped', async (t) => {
  const service = 'virtiofsd-ts.service'
  const shares = ['data', 'db'].map(
    (name) =>
      `[[share]]\ntag = "${name}"\npath = "/srv/${name}"\nsocket = "/run/virtiofsd-ts/${name}.sock"\n`,
  )
  writeFileSync(systemd.path('/etc/virtiofsd-ts/shares.toml'), shares.join('\n'))
  systemd.run('systemctl', 'enable', '--now', service)
  t.equal(systemd.property(service, 'StatusText'), 'Serving /srv/data, /srv/db')
  const sockets = ['data', 'db'].map((name) => `/run/virtiofsd-ts/${name}.sock`)
  const guests = sockets.map((socket) => mountAndUse(t, socket))
  for (const guest of guests) guest.close()
  mountAndUse(t, sockets[0] as string).close()
  t.equal(systemd.property(service, 'ActiveState'), 'active', 'it waits for the next guest')
  systemd.run('systemctl', 'stop', service)
  t.equal(systemd.property(service, 'Result'), 'success')
  for (const socket of sockets) t.notOk(existsSync(systemd.path(socket)))
})

t.test('a configuration with a mistake fails at once, with the line', async (t) => {
  writeFileSync(systemd.path('/etc/virtiofsd-ts/shares.toml'), '[[share]]\npth = "/srv/data"\n')
  systemd.try('systemctl', 'start', 'virtiofsd-ts.service')
  t.match(systemd.run('journalctl', '--no-pager', '-u', 'virtiofsd-ts.service'), /shares.toml.*pth/)
  t.equal(systemd.property('virtiofsd-ts.service', 'ExecMainStatus'), '2')
  systemd.run('systemctl', 'stop', 'virtiofsd-ts.service')
})

t.test('removing the package stops what it runs', (t) => {
  systemd.run('systemctl', 'start', 'virtiofsd-ts@srv-db.socket')
  systemd.run('env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'purge', '-qy', 'virtiofsd-ts')
  t.notOk(existsSync(systemd.path('/run/virtiofsd-ts/srv-db.sock')))
  t.notOk(existsSync(systemd.path('/usr/lib/systemd/system/virtiofsd-ts@.socket')))
  t.match(readFileSync(systemd.path('/srv/db/file'), 'utf8'), 'content', 'shares are left alone')
  t.end()
})
