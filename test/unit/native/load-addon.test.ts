/** The places in which the addon is looked for, and the message when it is in none of them. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { tempDir } from '../../support/host/temp-dir.js'

const NATIVE = fileURLToPath(new URL('../../../../native/', import.meta.url))
const BUILT = join(NATIVE, 'build/native.node')
const PREBUILT = `prebuilds/linux-${process.arch}/native.glibc.node`

/** A folder like the package's, which has these files. */
function packageWith(t: Test, addons: Readonly<Record<string, string>>): string {
  const folder = tempDir(t)
  copyFileSync(join(NATIVE, 'load-addon.js'), join(folder, 'load-addon.js'))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  for (const [path, source] of Object.entries(addons)) {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    if (source === '') writeFileSync(join(folder, path), 'no ELF file')
    else copyFileSync(source, join(folder, path))
  }
  return folder
}

/** Returns the path of the addon that is loaded, or the message of the error. */
function load(folder: string, variable?: string): string {
  const script = `import(${JSON.stringify(join(folder, 'load-addon.js'))}).then(({ loadAddon }) => {
    const { addon, path } = loadAddon()
    console.log(typeof addon.openat2 === 'function' ? path : 'no addon')
  }).catch(({ code, message }) => console.log(code + ': ' + message))`
  const environment = variable === undefined ? {} : { VIRTIOFSD_TS_NATIVE: variable }
  const { stdout } = spawnSync(process.execPath, ['-e', script], { env: environment, encoding: 'utf8' })
  return stdout.trimEnd()
}

t.test('the addon is looked for in the variable, in the package, and where it is compiled', async (t) => {
  const both = packageWith(t, { [PREBUILT]: BUILT, 'build/native.node': BUILT })
  t.equal(load(both), join(both, PREBUILT))
  t.equal(load(both, BUILT), BUILT)
  t.equal(load(both, ''), join(both, PREBUILT), 'an empty variable names nothing')
  const compiled = packageWith(t, { 'build/native.node': BUILT })
  t.equal(load(compiled), join(compiled, 'build/native.node'))
})

t.test('a packaged addon that does not load here is passed over for a compiled one', async (t) => {
  const folder = packageWith(t, { [PREBUILT]: '', 'build/native.node': BUILT })
  t.equal(load(folder), join(folder, 'build/native.node'))
})

t.test('without an addon, a line says what to type', async (t) => {
  for (const [addons, variable, reason] of [
    [{}, undefined, `none came with the package for linux-${process.arch}`],
    [{ [PREBUILT]: '' }, undefined, `native.glibc.node: file too short`],
    [{ 'build/native.node': BUILT }, '/nowhere/native.node', `Cannot find module '/nowhere/native.node'`],
  ] as const) {
    const folder = packageWith(t, addons)
    const said = load(folder, variable)
    t.match(said, /^NO_ADDON: the addon is missing: /)
    t.ok(said.includes(reason), said)
    t.ok(said.includes(`"make -C ${folder}/" compiles it, VIRTIOFSD_TS_NATIVE=FILE names another`), said)
    t.notOk(said.includes('\n'), 'in one line')
  }
})
