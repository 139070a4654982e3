import { chmodSync, copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { runCommand } from '../host/command.js'
import type { Program } from '../host/program.js'
import { SetupError } from '../host/setup-error.js'

const LOADER = 'ld-linux-x86-64.so.2'
const LIBRARY_DIRS = [
  'usr/lib/x86_64-linux-gnu',
  'lib/x86_64-linux-gnu',
  // librados finds this library by a run path, which fails in an unpacked tree.
  'usr/lib/x86_64-linux-gnu/ceph',
]

/**
 * Copies a program out of the tree `root` of unpacked packages: the program to `bin/`, the libraries it loads and
 * their loader to `lib/`. It then needs no library of the machine, whose glibc may be older.
 */
export async function collectProgram(root: string, path: string, into: string): Promise<void> {
  mkdirSync(join(into, 'bin'), { recursive: true })
  mkdirSync(join(into, 'lib'), { recursive: true })
  copyFileSync(join(root, path), join(into, 'bin', basename(path)))

  const dirs = LIBRARY_DIRS.map((dir) => join(root, dir)).filter((dir) => existsSync(dir))
  const loader = dirs.map((dir) => join(dir, LOADER)).find((file) => existsSync(file))
  if (loader === undefined) throw new SetupError(`no ${LOADER} came with ${path}`)
  copyFileSync(loader, join(into, 'lib', LOADER))
  chmodSync(join(into, 'lib', LOADER), 0o755)

  const listing = await runCommand(loader, ['--library-path', dirs.join(':'), '--list', join(root, path)])
  for (const [, soname, file] of listing.matchAll(/^\s*(\S+) => (not found|\S+)/gm)) {
    if (soname!.endsWith(LOADER)) continue
    // The loader also looks into the folders of this machine, whose libraries may not fit.
    if (!file!.startsWith(root))
      throw new SetupError(`${path} needs ${soname}, which its packages do not bring`)
    copyFileSync(file!, join(into, 'lib', soname!))
  }
}

/** Returns how to start a program that collectProgram put into `dir`. */
export function collectedProgram(dir: string, name: string): Program {
  const lib = join(dir, 'lib')
  return { command: join(lib, LOADER), args: ['--library-path', lib, join(dir, 'bin', name)] }
}
