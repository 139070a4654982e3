import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../host/command.js'
import { cacheRoot, withLock } from '../../packages/cache.js'
import { fetchKernelSource, type SourceName } from '../tree/kernel-source.js'
import type { Mutant } from './mutant.js'

/** The kernel parameter that selects the fault. 0 is none. */
export const PARAMETER = 'fuse.lab_fault'
export const PARAMETER_FILE = '/sys/module/fuse/parameters/lab_fault'

const HEADER = 'lab_faults.h'
const DECLARATIONS = `#include <linux/compiler.h>

/** The fault of the lab that is on. */
extern unsigned int fuse_lab_fault;

`
const DEFINITION = `
unsigned int fuse_lab_fault;
module_param_named(lab_fault, fuse_lab_fault, uint, 0644);
`

/** Puts faults, switched off, into a cached tree of one of Debian's kernels. Writes only the files that change. */
export async function makeMutatedTree(name: SourceName, mutants: readonly Mutant[]): Promise<string> {
  const source = await fetchKernelSource(name)
  const tree = join(cacheRoot(), 'lab-mutants', name === '6.12' ? 'tree' : `tree-${name}`)
  await withLock('lab-mutants', async () => {
    if (!existsSync(join(tree, 'Makefile'))) {
      rmSync(tree, { recursive: true, force: true })
      mkdirSync(join(cacheRoot(), 'lab-mutants'), { recursive: true })
      // The copy has hard links to the source. Changed files of fs/fuse are replaced below, not written through.
      // The path of the source may be a link itself.
      await runCommand('cp', ['-al', realpathSync(source), tree])
      rmSync(join(tree, 'fs/fuse'), { recursive: true })
      cpSync(join(source, 'fs/fuse'), join(tree, 'fs/fuse'), { recursive: true, preserveTimestamps: true })
    }
    const texts = mutate(join(source, 'fs/fuse'), mutants)
    // A file that has no fault any more gets its own text again.
    for (const name of new Set([...readdirSync(join(source, 'fs/fuse')), ...texts.keys()])) {
      const text = texts.get(name) ?? readFileSync(join(source, 'fs/fuse', name), 'utf8')
      const path = join(tree, 'fs/fuse', name)
      if (existsSync(path) && readFileSync(path, 'utf8') === text) continue
      // The path may still be a hard link.
      rmSync(path, { force: true })
      writeFileSync(path, text)
    }
  })
  return tree
}

/** Returns the changed files of fs/fuse by name. Throws if a place does not occur exactly once. */
function mutate(dir: string, mutants: readonly Mutant[]): Map<string, string> {
  const texts = new Map<string, string>()
  const read = (name: string): string => texts.get(name) ?? readFileSync(join(dir, name), 'utf8')
  for (const { id, file, before, after, also, elsewhere } of mutants) {
    for (const place of [{ before, after }, also, elsewhere])
      if (place !== undefined) {
        const name = place === elsewhere ? elsewhere.file : file
        texts.set(name, replaceOnce(read(name), place.before, numbered(place.after, id), `fault ${id}`))
      }
  }
  for (const [name, text] of texts) texts.set(name, text.replace(/^#include "/m, `#include "${HEADER}"\n$&`))
  const macros = mutants.map(({ id }) => `#define FAULT_${id} unlikely(READ_ONCE(fuse_lab_fault) == ${id})\n`)
  texts.set(HEADER, DECLARATIONS + macros.join(''))
  const start = 'struct list_head fuse_conn_list;'
  texts.set('inode.c', replaceOnce(read('inode.c'), start, `${start}\n${DEFINITION}`, 'the parameter'))
  return texts
}

/** FAULT alone means this fault. FAULT_7 means another fault at the same place. */
function numbered(code: string, id: number): string {
  return code.replaceAll(/\bFAULT\b/g, `FAULT_${id}`)
}

function replaceOnce(text: string, before: string, after: string, what: string): string {
  const parts = text.split(before)
  if (parts.length !== 2) throw new Error(`${what}: its place occurs ${parts.length - 1} times: ${before}`)
  return parts.join(after)
}
