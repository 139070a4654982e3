import { createHash } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../host/command.js'
import { showProgress } from '../../host/progress.js'
import { cached } from '../../packages/cache.js'
import { DebianSuite } from '../../packages/debian-suite.js'

/** Debian packages for the work, besides those of every Debian guest. */
export const WORK_PACKAGES = ['gzip', 'nodejs', 'postgresql-17']

/** npm's own JavaScript is enough: Debian's package of npm brings four hundred others. */
const NPM = 'npm@10.9.4'
/** Some three hundred packages, eight thousand files. */
const PROJECT = {
  private: true,
  dependencies: {
    eslint: '9.39.1',
    webpack: '5.103.0',
    'webpack-cli': '6.0.1',
    express: '5.1.0',
    mocha: '11.7.5',
  },
}
const QUIET = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier']

/**
 * Returns a cached folder of everything that a guest without a network needs: in `npm/` npm itself, a project with
 * its lock, a cache with its packages, and npm's result on the host; `lua.tar.gz`, the sources of Lua.
 */
export async function fetchSupplies(): Promise<string> {
  const hash = createHash('sha256')
    .update(JSON.stringify([NPM, PROJECT, QUIET]))
    .digest('hex')
    .slice(0, 12)
  return cached(`work-supplies-${hash}`, (dir) =>
    showProgress('fetching an npm project and the sources of Lua', async () => {
      await fetchProject(join(dir, 'npm'))
      await fetchLua(join(dir, 'lua.tar.gz'))
    }),
  )
}

async function fetchProject(dir: string): Promise<void> {
  mkdirSync(dir)
  const npm = (args: string[]) => runCommand('npm', args, { cwd: dir })
  const tarball = (await npm(['pack', '--silent', NPM])).trim()
  await runCommand('tar', ['-xf', join(dir, tarball), '-C', dir])
  rmSync(join(dir, tarball))
  renameSync(join(dir, 'package'), join(dir, 'npm'))

  writeFileSync(join(dir, 'package.json'), JSON.stringify(PROJECT))
  // Without these addresses npm ci asks a registry where each package is.
  const addresses = '--omit-lockfile-registry-resolved=false'
  await npm(['install', ...QUIET, addresses, '--cache', join(dir, 'cache')])
  recordTree(dir)
  rmSync(join(dir, 'node_modules'), { recursive: true })
}

/** Writes the checksums of all files of node_modules, as sha256sum -c takes them, and the targets of all links. */
function recordTree(dir: string): void {
  const entries = readdirSync(join(dir, 'node_modules'), { recursive: true, withFileTypes: true })
  const lines = (kind: 'isFile' | 'isSymbolicLink', line: (path: string, name: string) => string) =>
    entries
      .filter((entry) => entry[kind]())
      .map((entry) => join(entry.parentPath, entry.name))
      // npm's own record of the installation holds the host's paths.
      .filter((path) => !path.endsWith('/.package-lock.json'))
      .map((path) => line(path, path.slice(dir.length + 1)))
  const sum = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
  const files = lines('isFile', (path, name) => `${sum(path)}  ${name}\n`)
  const links = lines('isSymbolicLink', (path, name) => `${name} ${readlinkSync(path)}\n`)
  writeFileSync(join(dir, 'files.sha256'), files.join(''))
  writeFileSync(join(dir, 'links'), links.sort().join(''))
}

async function fetchLua(path: string): Promise<void> {
  await DebianSuite.use('trixie', async (suite) => {
    const files = await suite.downloadSource('lua5.4')
    cpSync(files.find((file) => file.endsWith('.orig.tar.gz'))!, path)
  })
}
