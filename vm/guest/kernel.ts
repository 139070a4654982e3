import { existsSync, readdirSync, renameSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { showProgress } from '../host/progress.js'
import { SetupError } from '../host/setup-error.js'
import { unpackPackages } from '../packages/bundle.js'
import { cached } from '../packages/cache.js'
import type { DebianSuite } from '../packages/debian-suite.js'

/** A guest kernel: a bzImage, and its modules, if there are any. */
export interface Kernel {
  image: string
  /** Holds `kernel/` and `modules.builtin`, as /lib/modules/RELEASE does. */
  modulesDir?: string
}

/** Debian's cloud kernels, by the name that `--kernel` takes. The backports follow the newest release. */
const SUITES = { '6.1': 'bookworm', '6.12': 'trixie', '7': 'trixie-backports' }
export const KERNEL_NAMES = ['6.1', '6.12', '7'] as const
export type KernelName = (typeof KERNEL_NAMES)[number]

// Up to 6.12 one package has everything; later the kernel, its modules and their index are separate packages.
const KERNEL_PACKAGES = /^linux-(image|binary|modules|base)-(cloud-amd64|\d.*-cloud-amd64)$/

/** A release such as 7.1, or 7.1.8, that Debian has in this suite besides the newest one. */
const RELEASE = /^\d+\.\d+(\.\d+)?$/
const RELEASES_SUITE = 'trixie-backports'
const KERNEL_PACKAGE = /^linux-image-(\d+\.\d+\.\d+)\+.*-cloud-amd64$/

/** Finds a kernel: one of KERNEL_NAMES or a release, fetched if need be, or the path of a bzImage. */
export async function findKernel(nameOrPath: string, modulesDir?: string): Promise<Kernel> {
  const name = nameOrPath.replace(/\.x$/, '')
  if (isKernelName(name))
    return fetchKernel(name, SUITES[name], () => Promise.resolve('linux-image-cloud-amd64'))

  const image = resolve(nameOrPath)
  if (!existsSync(image)) {
    if (RELEASE.test(name))
      return fetchKernel(name, RELEASES_SUITE, async (suite) =>
        newestPackage(await suite.packageNames('linux-'), name),
      )
    throw new SetupError(
      `no kernel ${nameOrPath}: it is neither a file nor one of ${KERNEL_NAMES.join(', ')}, nor a release`,
    )
  }
  if (modulesDir === undefined) return { image }
  if (!existsSync(join(modulesDir, 'modules.builtin'))) {
    throw new SetupError(
      `no modules in ${modulesDir}: expected a folder like /lib/modules/RELEASE, with modules.builtin`,
    )
  }
  return { image, modulesDir: resolve(modulesDir) }
}

function isKernelName(name: string): name is KernelName {
  return KERNEL_NAMES.some((known) => known === name)
}

/** Returns the package of the newest kernel of a release. Throws SetupError if there is none. */
export function newestPackage(packages: readonly string[], release: string): string {
  const kernels = packages
    .flatMap((name) => {
      const itsRelease = KERNEL_PACKAGE.exec(name)?.[1]
      return itsRelease === undefined || !hasModules(packages, name) ? [] : [{ name, release: itsRelease }]
    })
    .sort((a, b) => a.release.localeCompare(b.release, 'en', { numeric: true }))
  const found = kernels.findLast((kernel) => `${kernel.release}.`.startsWith(`${release}.`))
  if (found !== undefined) return found.name
  const there = kernels.map((kernel) => kernel.release).join(', ')
  throw new SetupError(`Debian ${RELEASES_SUITE} has no Linux ${release}; it has ${there}`)
}

/** Returns false for a kernel in several packages of which the suite has dropped the modules. */
function hasModules(packages: readonly string[], image: string): boolean {
  const other = (part: string): boolean => packages.includes(image.replace('-image-', `-${part}-`))
  return !other('binary') || other('modules')
}

async function fetchKernel(
  name: string,
  suiteName: string,
  choosePackage: (suite: DebianSuite) => Promise<string>,
): Promise<Kernel> {
  const dir = await cached(`linux-${name}`, (dir) =>
    showProgress(`fetching Linux ${name} from Debian ${suiteName}`, () =>
      unpackPackages(
        suiteName,
        async (suite) =>
          suite.download(
            await suite.followDependencies(await choosePackage(suite), KERNEL_PACKAGES),
            'alone',
          ),
        async (tree) => keepKernel(tree, dir),
        dir,
      ),
    ),
  )
  return { image: join(dir, 'vmlinuz'), modulesDir: join(dir, 'modules') }
}

function keepKernel(tree: string, dir: string): void {
  const allModules = ['lib/modules', 'usr/lib/modules']
    .map((path) => join(tree, path))
    .find((path) => existsSync(path))
  if (allModules === undefined) throw new SetupError('the kernel packages bring no modules folder')
  const release = onlyEntry(allModules)
  const modules = join(allModules, release)
  const image = [join(tree, 'boot', `vmlinuz-${release}`), join(modules, 'vmlinuz')].find((path) =>
    existsSync(path),
  )
  if (image === undefined) throw new SetupError(`the kernel packages bring no vmlinuz of ${release}`)
  renameSync(image, join(dir, 'vmlinuz'))
  renameSync(modules, join(dir, 'modules'))
}

function onlyEntry(dir: string): string {
  const entries = readdirSync(dir)
  if (entries.length !== 1)
    throw new SetupError(`expected one kernel release in ${dir}, found: ${entries.join(', ')}`)
  return entries[0]!
}
