/**
 * Runs the tests of this folder that are about the protocol on file systems that a user writes: the memory example, and
 * node:fs/promises on the shared directory.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

t.setTimeout(290_000)

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

const MEMORY = here('../support/file-systems/lent-memory.js')
const PROMISES = `${here('../support/file-systems/adapted-file-systems.js')}?kind=node`

/**
 * vanishing-front-end measures the memory of a process, which depends on the garbage collector here. The others use
 * locks, ACCESS, copies or appends, which such file systems do not have.
 */
const suites: Readonly<Record<string, readonly string[]>> = {
  [MEMORY]: [
    'aliased-buffers',
    'bad-descriptor-chains',
    'broken-frames',
    'cve-2016-5403-unbounded-pops',
    'cve-2022-0669-surplus-descriptors',
    'cve-2024-11614-struct-fields',
    'forget-with-open-in-flight',
    'impossible-available-index',
    'libkrun-329-names',
    'log-flood',
  ],
  [PROMISES]: ['cve-2024-11614-struct-fields', 'forget-with-open-in-flight', 'memory-that-changes'],
}

for (const [module, names] of Object.entries(suites)) {
  for (const name of names) {
    t.test(`${name}, on ${module === MEMORY ? 'the memory example' : "Node's promises"}`, async (t) => {
      const { PATH } = process.env
      const env = { PATH, TEST_FILE_SYSTEM: module }
      const { stdout } = await promisify(execFile)(process.execPath, [here(`./${name}.test.js`)], { env })
      const passed = Number(/^# \{.* pass: (\d+)/m.exec(stdout)?.[1])
      t.ok(passed > 0, `${passed} checks`)
    })
  }
}
