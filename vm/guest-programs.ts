import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cached } from './packages/cache.js'
import { runCommand } from './packages/command.js'

// From dist/vm back to the sources: the C files are not copied to dist.
const SOURCES = fileURLToPath(new URL('../../vm/guest/', import.meta.url))
const FLAGS = ['-std=gnu11', '-static', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread']

/** Compiles each vm/guest/*.c into a static program and returns the folder that holds them, named after their sources. */
export async function compileGuestPrograms(): Promise<string> {
  const files = readdirSync(SOURCES).sort()
  const hash = createHash('sha256').update(FLAGS.join(' '))
  for (const file of files) hash.update(file).update(readFileSync(join(SOURCES, file)))

  return cached(`guest-programs-${hash.digest('hex').slice(0, 16)}`, async (dir) => {
    for (const file of files.filter((file) => file.endsWith('.c'))) {
      await runCommand('cc', [...FLAGS, '-o', join(dir, basename(file, '.c')), join(SOURCES, file)])
    }
  })
}
