import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import { findInPath } from '../../host/find-in-path.js'
import { SetupError } from '../../host/setup-error.js'
import { cacheRoot, withLock } from '../../packages/cache.js'

/** Kinds of builds: the guest's options alone, or with the kernel's own checks. */
export const FLAVOURS = ['default', 'debug'] as const
export type Flavour = (typeof FLAVOURS)[number]

// From dist/vm/lab/tree back to the sources.
const HERE = fileURLToPath(new URL('../../../../vm/lab/tree/', import.meta.url))
const FRAGMENTS: Readonly<Record<Flavour, readonly string[]>> = {
  default: ['kernel.config'],
  debug: ['kernel.config', 'kernel-debug.config'],
}
const TOOLS = ['make', 'gcc', 'flex', 'bison', 'bc']
/** The `make` that may have started us has its own flags, such as -s, which hides the progress. */
export const OWN_MAKE = { MAKEFLAGS: '', MAKELEVEL: '' }
const SAY_EVERY_MS = 10_000
const LAST_LINES = 15

/**
 * Builds a tree incrementally in its own cache folder, and returns the path of the bzImage. Does not write to the tree.
 * Throws SetupError with the end of the build's output.
 */
export async function buildKernel(tree: string, flavour: Flavour = 'default'): Promise<string> {
  const source = findTree(tree)
  for (const tool of TOOLS)
    if (findInPath(tool) === undefined) throw new SetupError(`to build a kernel, install ${tool}`)
  const name = `lab-builds/${flavour}-${hashOf(source)}`
  const output = join(cacheRoot(), name)
  await withLock(name, async () => {
    mkdirSync(output, { recursive: true })
    await configure(source, output, flavour)
    await make(source, output, ['bzImage'], `building ${tree}`)
  })
  return join(output, 'arch/x86/boot/bzImage')
}

/** A short hash for a path. */
export function hashOf(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 12)
}

/** Throws SetupError if the path has no kernel source. */
export function findTree(tree: string): string {
  if (existsSync(join(tree, 'fs/fuse/Kconfig'))) return realpathSync(tree)
  throw new SetupError(`no kernel tree in ${tree}: it has no fs/fuse/Kconfig`)
}

/** Configures from tinyconfig and our fragments, again whenever the fragments have changed. */
async function configure(source: string, output: string, flavour: Flavour): Promise<void> {
  const fragments = FRAGMENTS[flavour].map((name) => join(HERE, name))
  const wanted = fragments.map((path) => readFileSync(path, 'utf8')).join('')
  const stamp = join(output, 'fragments')
  const config = join(output, '.config')
  if (!existsSync(stamp) || !existsSync(config) || readFileSync(stamp, 'utf8') !== wanted) {
    await make(source, output, ['tinyconfig'], 'configuring')
    const merge = ['-m', '-O', output, config, ...fragments]
    await runBuild(join(source, 'scripts/kconfig/merge_config.sh'), merge, source, 'configuring')
    writeFileSync(stamp, wanted)
  }
  // Another commit may have different options.
  await make(source, output, ['olddefconfig'], 'configuring')
}

async function make(source: string, output: string, goals: string[], what: string): Promise<void> {
  const ccache = findInPath('ccache') === undefined ? [] : ['CC=ccache gcc']
  const options = [`O=${output}`, `-j${availableParallelism()}`, 'KBUILD_BUILD_TIMESTAMP=lab', ...ccache]
  await runBuild('make', [...options, ...goals], source, what)
}

/** Runs a build and reports its progress now and then. */
async function runBuild(command: string, args: string[], cwd: string, what: string): Promise<void> {
  const lines: string[] = []
  let compiled = 0
  const process_ = execa(command, args, {
    ...{ cwd, env: OWN_MAKE, all: true, stdin: 'ignore', reject: false, buffer: false },
  })
  const timer = setInterval(
    () => say(`${what}: ${compiled} files, ${lines.at(-1)?.trim() ?? ''}`),
    SAY_EVERY_MS,
  )
  for await (const line of process_.iterable({ from: 'all' })) {
    if (/^ {2}(CC|AS) /.test(line)) compiled++
    lines.push(line)
    if (lines.length > LAST_LINES) lines.shift()
  }
  clearInterval(timer)
  const { exitCode } = await process_
  if (exitCode === 0) return
  throw new SetupError(`${what} failed:\n${lines.join('\n')}`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
