/**
 * Packages are fetched from a mirror of Debian, which must be reachable. Each test has a cache of its own, so that
 * everything is fetched anew.
 */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fetchBundle } from '../../vm/packages/bundle.js'
import { DebianSuite } from '../../vm/packages/debian-suite.js'

const NOBODY = 65534
/** Signs releases of bookworm, and nothing newer. */
const OLD_KEYRING = '/usr/share/keyrings/debian-archive-bookworm-stable.gpg'
const STRANGE_KEYRING = '/usr/share/keyrings/debian-archive-removed-keys.gpg'
const BUNDLE_MODULE = new URL('../../vm/packages/bundle.js', import.meta.url).href
const FETCH_BUSYBOX = `import { fetchBundle } from '${BUNDLE_MODULE}'; console.log(await fetchBundle('busybox'))`

t.setTimeout(300_000)

/** A fresh cache in a folder that every user can enter, and other settings, until the test is over. */
function setEnvironment(t: Test, settings: Record<string, string> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), 'packages-test-'))
  const saved = process.env
  process.env = { ...saved, VIRTIOFSD_TS_CACHE: dir, ...settings }
  t.teardown(() => {
    process.env = saved
    rmSync(dir, { recursive: true, force: true })
  })
  return dir
}

function fetchInProcess(options: { uid?: number } = {}): Promise<number | null> {
  const args = ['--input-type=module', '--eval', FETCH_BUSYBOX]
  return new Promise((resolve) => {
    spawn(process.execPath, args, { ...options, stdio: 'ignore' }).once('exit', resolve)
  })
}

t.test('two processes that want the same bundle both get it', async (t) => {
  const cache = setEnvironment(t)
  t.same(await Promise.all([fetchInProcess(), fetchInProcess()]), [0, 0])
  t.same(readdirSync(join(cache, 'busybox')).sort(), ['files', 'packages.txt'])
  t.same(readdirSync(cache).sort(), ['apt', 'busybox', 'locks'], 'nothing unfinished is left')
  t.match(execFileSync(join(cache, 'busybox/files/busybox'), ['echo', 'runs'], { encoding: 'utf8' }), 'runs')
})

t.test("the machine's apt stays as it is", async (t) => {
  setEnvironment(t)
  const folders = ['/etc/apt', '/var/lib/apt', '/var/cache/apt', '/var/lib/dpkg']
  const list = (): string =>
    execFileSync('find', [...folders, '-printf', '%p %s %T@\n'], { encoding: 'utf8' })
  const before = list()
  await fetchBundle('busybox')
  t.equal(list(), before)
})

t.test(
  'a user without rights can fetch',
  { skip: process.getuid?.() !== 0 && 'needs root, to become another user' },
  async (t) => {
    chmodSync(setEnvironment(t, { HOME: '/nonexistent' }), 0o777)
    t.equal(await fetchInProcess({ uid: NOBODY }), 0)
  },
)

t.test(
  'a newer release is verified by keys that an older one vouches for',
  { skip: !existsSync(OLD_KEYRING) && `no ${OLD_KEYRING}` },
  async (t) => {
    const cache = setEnvironment(t)
    await DebianSuite.use('trixie', async (suite) => t.equal(suite.name, 'trixie'), OLD_KEYRING)
    t.ok(existsSync(join(cache, 'debian-archive-keyring')))
  },
)

t.test(
  'a release that no key verifies is refused',
  { skip: !existsSync(STRANGE_KEYRING) && `no ${STRANGE_KEYRING}` },
  async (t) => {
    setEnvironment(t)
    const using = DebianSuite.use('trixie', async () => t.fail('it was trusted'), STRANGE_KEYRING)
    await t.rejects(using, {
      name: 'SetupError',
      message: /does not verify Debian \w+: install a newer debian-archive-keyring/,
    })
  },
)

t.test('a package that does not exist is refused by name', async (t) => {
  setEnvironment(t)
  const download = DebianSuite.use('bookworm', (suite) => suite.download(['no-such-package'], 'alone'))
  await t.rejects(download, {
    name: 'SetupError',
    message: 'Debian bookworm has no such package: no-such-package',
  })
})

t.test('a mirror that cannot be reached is named', async (t) => {
  setEnvironment(t, { VIRTIOFSD_TS_DEBIAN_MIRROR: 'http://127.0.0.1:9/debian' })
  const message = /^cannot reach the Debian mirror http:\/\/127\.0\.0\.1:9\/debian: .*$/
  await t.rejects(fetchBundle('busybox'), { name: 'SetupError', message })
})
