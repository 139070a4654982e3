import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runCommand } from '../host/command.js'
import { cached } from '../packages/cache.js'

// From dist/vm back to the sources: C files are not copied to dist.
const SOURCES = fileURLToPath(new URL('../../../vm/guest/programs/', import.meta.url))
const FLAGS = ['-std=gnu11', '-static', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-s']

/**
 * Compiles each vm/guest/NAME.c, and the files of each vm/guest/NAME/, into a static program NAME.
 * Returns the folder that holds the programs.
 */
export async function compileGuestPrograms(): Promise<string> {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.[ch]$/.test(file))
    .sort()
  const hash = createHash('sha256').update(FLAGS.join(' '))
  for (const file of files) hash.update(file).update(readFileSync(join(SOURCES, file)))

  return cached(`guest-programs-${hash.digest('hex').slice(0, 16)}`, async (dir) => {
    const sources = files.filter((file) => file.endsWith('.c'))
    for (const program of new Set(sources.map(programName))) {
      const parts = sources.filter((file) => programName(file) === program).map((file) => join(SOURCES, file))
      await runCommand('cc', [...FLAGS, '-o', join(dir, program), ...parts])
    }
  })
}

function programName(file: string): string {
  return basename(file.split('/')[0]!, '.c')
}
