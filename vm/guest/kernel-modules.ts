import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { findInPath } from '../host/find-in-path.js'
import { SetupError } from '../host/setup-error.js'

const MODULE_MAX_BYTES = 256 * 1024 * 1024

/** A kernel module as the guest's init loads it: uncompressed. */
export interface KernelModule {
  name: string
  data: Buffer
}

/**
 * Reads modules and their dependencies, each module after its dependencies. A `wanted` one must exist. Skips modules
 * that are built into the kernel. `modulesDir` is like /lib/modules/RELEASE; depmod need not have run.
 */
export function readModules(modulesDir: string, wanted: string[], optional: string[]): KernelModule[] {
  const builtin = new Set(
    readFileSync(join(modulesDir, 'modules.builtin'), 'utf8').split('\n').map(moduleName),
  )
  const paths = new Map(listFiles(modulesDir).map((path) => [moduleName(path), path]))
  const loaded = new Map<string, KernelModule>()

  const load = (name: string): void => {
    if (builtin.has(name) || loaded.has(name)) return
    const path = paths.get(name)
    if (path === undefined)
      throw new SetupError(`the kernel has no module ${name}, neither built in nor in ${modulesDir}`)
    const data = readModule(path)
    for (const dependency of readDependencies(data)) load(dependency)
    loaded.set(name, { name, data })
  }
  wanted.map(moduleName).forEach(load)
  optional.filter((name) => paths.has(name)).forEach(load)
  return [...loaded.values()]
}

/** File names may have dashes in place of the kernel's underscores. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_')
}

function listFiles(dir: string): string[] {
  return readdirSync(join(dir, 'kernel'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.ko(\.\w+)?$/.test(path))
    .map((path) => join(dir, 'kernel', path))
}

function readModule(path: string): Buffer {
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path))
  const unpack = path.endsWith('.xz') ? 'xz' : path.endsWith('.zst') ? 'zstd' : undefined
  if (unpack === undefined) return readFileSync(path)
  if (findInPath(unpack) === undefined)
    throw new SetupError(`the command ${unpack}, for ${path}, is not installed`)
  return execFileSync(unpack, ['-dc', path], { maxBuffer: MODULE_MAX_BYTES })
}

/** A module carries its dependencies as `depends=a,b` between NULs in its .modinfo section. */
function readDependencies(module: Buffer): string[] {
  const mark = Buffer.from('\0depends=')
  const at = module.indexOf(mark)
  if (at < 0) return []
  const start = at + mark.length
  const list = module.toString('latin1', start, module.indexOf(0, start))
  return list
    .split(',')
    .filter((name) => name !== '')
    .map(moduleName)
}
