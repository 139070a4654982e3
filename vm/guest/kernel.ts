import { existsSync, readdirSync, renameSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { showProgress } from '../host/progress.js'
import { SetupError } from '../host/setup-error.js'
import { unpackPackages } from '../packages/bundle.js'
import { cached } from '../packages/cache.js'

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

/** Finds a kernel: one of KERNEL_NAMES, fetched if need be, or the path of a bzImage. */
export async function findKernel(nameOrPath: string, modulesDir?: string): Promise<Kernel> {
  const name = nameOrPath.replace(/\.x$/, '')
  if (isKernelName(name)) return fetchKernel(name)

  const image = resolve(nameOrPath)
  if (!existsSync(image)) {
    throw new SetupError(
      `no kernel ${nameOrPath}: it is neither a file nor one of ${KERNEL_NAMES.join(', ')}`,
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

async function fetchKernel(name: KernelName): Promise<Kernel> {
  const suiteName = SUITES[name]
  const dir = await cached(`linux-${name}`, (dir) =>
    showProgress(`fetching Linux ${name} from Debian ${suiteName}`, () =>
      unpackPackages(
        suiteName,
        async (suite) =>
          suite.download(await suite.followDependencies('linux-image-cloud-amd64', KERNEL_PACKAGES), 'alone'),
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
