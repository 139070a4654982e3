import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CommandError, runCommand } from '../host/command.js'
import { SetupError } from '../host/setup-error.js'
import { cached, cacheRoot, withLock } from './cache.js'
import { findKeyring, findMirror, readNetworkSettings } from './debian-mirror.js'
import { unpackPackage } from './unpack.js'

const LISTS_FRESH_MS = 3_600_000
const MISSING_KEY = /NO_PUBKEY|Missing key/
const UNREACHABLE =
  /Failed to fetch|Could not (resolve|connect)|Connection (failed|timed out)|Network is unreachable/
const NO_SUCH_PACKAGE =
  /Unable to locate package|has no installation candidate|No packages found|Can't find a source/

/**
 * One Debian suite seen through a private apt: sources, lists, state and archives of its own. It reads the machine's
 * apt mirror, keys and proxies, and changes nothing there. `trixie-backports` includes `trixie`, which its packages
 * depend on.
 */
export class DebianSuite {
  private constructor(
    readonly name: string,
    private readonly root: string,
    private readonly mirror: string,
  ) {}

  /** Gives `work` the suite with fresh lists. One process at a time uses it; its downloads are removed afterwards. */
  static async use<T>(
    name: string,
    work: (suite: DebianSuite) => Promise<T>,
    keyring: string = findKeyring(),
  ): Promise<T> {
    return withLock(`apt-${name}`, async () => {
      const suite = new DebianSuite(name, join(cacheRoot(), 'apt', name), await findMirror())
      await suite.configure(keyring)
      await suite.updateLists(keyring)
      try {
        return await work(suite)
      } finally {
        rmSync(suite.archives, { recursive: true, force: true })
      }
    })
  }

  /** Returns the names of all packages that begin with `prefix`. */
  async packageNames(prefix: string): Promise<string[]> {
    return (await this.run('apt-cache', ['pkgnames', prefix])).split('\n').filter((name) => name !== '')
  }

  /** Returns `start` and its direct and indirect dependencies whose names match. */
  async followDependencies(start: string, pattern: RegExp): Promise<string[]> {
    const found = new Set([start])
    for (const name of found) {
      const listing = await this.run('apt-cache', ['depends', '--important', name])
      for (const [, dependency] of listing.matchAll(/^ *\|?(?:Pre)?Depends: (\S+)$/gm)) {
        if (pattern.test(dependency!)) found.add(dependency!)
      }
    }
    return [...found]
  }

  /**
   * Downloads packages, and with 'dependencies' everything they need on an empty machine. Returns the paths of the
   * .deb files.
   */
  async download(names: string[], what: 'dependencies' | 'alone'): Promise<string[]> {
    mkdirSync(join(this.archives, 'partial'), { recursive: true })
    if (what === 'alone') await this.run('apt-get', ['download', ...names])
    else
      await this.run('apt-get', ['install', '--download-only', '--yes', '--no-install-recommends', ...names])
    return readdirSync(this.archives)
      .filter((file) => file.endsWith('.deb'))
      .map((file) => join(this.archives, file))
  }

  /**
   * Downloads the files of a source package. Returns their paths. The long list of sources is kept apart, since it is
   * rarely needed.
   */
  async downloadSource(name: string): Promise<string[]> {
    const lists = join(this.root, 'source-lists')
    for (const dir of [this.archives, join(lists, 'partial')]) mkdirSync(dir, { recursive: true })
    const list = join(this.root, 'etc/deb-src.list')
    writeFileSync(list, `deb-src ${this.mirror} ${this.name} main\n`)
    const apart = ['-o', `Dir::Etc::sourcelist=${list}`, '-o', `Dir::State::lists=${lists}`]
    await this.run('apt-get', [...apart, 'update', '--quiet'])
    await this.run('apt-get', [...apart, 'source', '--download-only', name])
    return readdirSync(this.archives)
      .filter((file) => file.startsWith(`${name}_`))
      .map((file) => join(this.archives, file))
  }

  private get archives(): string {
    return join(this.root, 'archives')
  }

  private async configure(keyring: string): Promise<void> {
    const { root, name, mirror } = this
    for (const dir of [
      'etc/apt.conf.d',
      'etc/preferences.d',
      'etc/trusted.gpg.d',
      'lists/partial',
      'archives',
    ]) {
      mkdirSync(join(root, dir), { recursive: true })
    }
    const base = name.replace(/-backports$/, '')
    const sources = [...new Set([base, name])].map((release) => `deb ${mirror} ${release} main\n`)
    writeFileSync(join(root, 'etc/sources.list'), sources.join(''))
    copyFileSync(keyring, join(root, 'etc/trusted.gpg.d/debian.gpg'))
    writeFileSync(join(root, 'status'), '')
    const settings = [
      `Dir "${root}"; Dir::Etc "${root}/etc"; Dir::Etc::sourceparts "/dev/null";`,
      `Dir::State "${root}"; Dir::State::lists "${root}/lists"; Dir::State::status "${root}/status";`,
      `Dir::Cache "${root}"; Dir::Cache::archives "${this.archives}";`,
      'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";',
      'APT::Architecture "amd64"; APT::Architectures { "amd64"; };',
      `APT::Default-Release "${name}"; APT::Update::Error-Mode "any";`,
      // The cache may lie in a folder that apt's own user cannot enter.
      'APT::Sandbox::User "root";',
      'Acquire::Languages "none"; Acquire::GzipIndexes "true"; Acquire::Retries "3";',
      ...(await readNetworkSettings()),
    ]
    writeFileSync(join(root, 'apt.conf'), `${settings.join('\n')}\n`)
  }

  private async updateLists(keyring: string): Promise<void> {
    const stamp = join(this.root, 'updated')
    if (ageMs(stamp) < LISTS_FRESH_MS) return
    try {
      await this.run('apt-get', ['update', '--quiet'])
    } catch (error) {
      if (!(error instanceof CommandError) || !MISSING_KEY.test(error.stderr)) throw error
      copyFileSync(
        await fetchNewerKeyring(this.name, keyring),
        join(this.root, 'etc/trusted.gpg.d/newer.gpg'),
      )
      await this.run('apt-get', ['update', '--quiet'])
    }
    writeFileSync(stamp, '')
  }

  private async run(command: string, args: string[]): Promise<string> {
    const env = { APT_CONFIG: join(this.root, 'apt.conf') }
    try {
      return await runCommand(command, args, { env, cwd: this.archives })
    } catch (error) {
      throw this.explain(error, args)
    }
  }

  private explain(error: unknown, args: string[]): unknown {
    if (!(error instanceof CommandError) || MISSING_KEY.test(error.stderr)) return error
    if (UNREACHABLE.test(error.stderr)) {
      const reason = error.stderr.split('\n').find((line) => UNREACHABLE.test(line))
      return new SetupError(`cannot reach the Debian mirror ${this.mirror}: ${reason}`)
    }
    if (NO_SUCH_PACKAGE.test(error.stderr)) {
      return new SetupError(`Debian ${this.name} has no such package: ${args.at(-1)}`)
    }
    return error
  }
}

/**
 * Fetches keys that this machine's keyring is too old to hold. They come as a package of the machine's own release,
 * which the old keyring verifies, so the chain of signatures has no gap.
 */
async function fetchNewerKeyring(wanted: string, oldKeyring: string): Promise<string> {
  const release = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  if (release === undefined || release === wanted) {
    throw new SetupError(
      `${oldKeyring} does not verify Debian ${wanted}: install a newer debian-archive-keyring`,
    )
  }
  const dir = await cached('debian-archive-keyring', (dir) =>
    DebianSuite.use(
      release,
      async (suite) => {
        for (const file of await suite.download(['debian-archive-keyring'], 'alone'))
          await unpackPackage(file, dir)
      },
      oldKeyring,
    ),
  )
  return join(dir, 'usr/share/keyrings/debian-archive-keyring.gpg')
}

function ageMs(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat === undefined ? Number.POSITIVE_INFINITY : Date.now() - stat.mtimeMs
}
