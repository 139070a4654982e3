import { existsSync } from 'node:fs'
import { runCommand } from './command.js'
import { findInPath } from './find-in-path.js'
import { showProgress } from './progress.js'
import { SetupError } from './setup-error.js'

/** Host commands that this folder uses, and their Debian packages. */
const TOOLS: Record<string, string[]> = {
  cc: ['gcc', 'libc6-dev'],
  'dpkg-deb': ['dpkg'],
  flock: ['util-linux'],
  setpriv: ['util-linux'],
  tar: ['tar'],
  xz: ['xz-utils'],
}

/**
 * Makes sure that the host has the needed commands: root installs missing ones by apt, other users are told what to
 * install.
 */
export async function ensureHostTools(arch: string = process.arch): Promise<void> {
  if (arch !== 'x64') throw new SetupError(`guests need an x86-64 host; this one is ${arch}`)
  const missing = Object.entries(TOOLS).filter(([tool]) => findInPath(tool) === undefined)
  const packages = new Set(missing.flatMap(([, names]) => names))
  if (missing.every(([tool]) => tool !== 'cc') && !(await hasStaticLibc())) packages.add('libc6-dev')
  if (packages.size === 0) return

  const install = `apt-get install ${[...packages].join(' ')}`
  if (process.getuid?.() !== 0 || findInPath('apt-get') === undefined) {
    throw new SetupError(`this needs packages that are not installed: run ${install} as root`)
  }
  await showProgress(install, async () => {
    await runCommand('apt-get', ['update', '--quiet'])
    await runCommand('apt-get', ['install', '--yes', '--no-install-recommends', ...packages])
  })
}

/** Returns true if a static C library exists. A compiler that does not find the file prints its bare name. */
async function hasStaticLibc(): Promise<boolean> {
  return existsSync(await runCommand('cc', ['-print-file-name=libc.a']))
}
