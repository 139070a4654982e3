/**
 * The npm packages as npm installs them: packed, installed into an empty folder with the dependencies of the registry and
 * the addon compiled there, and started in its sandbox. `make test-package` runs it.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { attach } from '../support/mount.js'
import { RunningProgram, runProgram } from '../support/program.js'
import { tempDir } from '../support/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

t.setTimeout(300_000)

t.test('packed, installed and started', async (t) => {
  const packed = tempDir(t)
  const home = tempDir(t)
  const npm = (cwd: string, args: readonly string[]) =>
    execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: 'pipe' })
  npm(ROOT, ['pack', '--workspaces', '--include-workspace-root', '--pack-destination', packed])
  const tarballs = readdirSync(packed).map((name) => join(packed, name))
  t.equal(tarballs.length, 3)
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }')
  npm(home, ['install', '--no-audit', '--no-fund', ...tarballs])

  const program = join(home, 'node_modules/.bin/virtiofsd-ts')
  t.match(runProgram(['--help'], [], program).stdout, /^Usage: virtiofsd-ts /)

  const directory = tempDir(t)
  writeFileSync(join(directory, 'file'), 'content')
  const socketPath = join(tempDir(t), 'socket')
  const running = new RunningProgram(
    t,
    ['--shared-dir', directory, '--socket-path', socketPath],
    [],
    [],
    program,
  )
  t.match(await running.says('"confined"'), '"sandbox":"namespace"')
  const fs = attach(t, { socketPath })
  fs.init()
  t.equal(fs.lookup(1n, 'file').attr.size, 7n)
  fs.close()
  t.same(await running.exited, { status: 0, signal: null })

  writeFileSync(
    join(home, 'library.js'),
    "import { Backend } from 'vhost-user-ts'\nconsole.log(typeof Backend)\n",
  )
  // Without what the test runner adds to the environment, which no compiler of TypeScript outlives.
  const { PATH } = process.env
  const run = (command: string, args: readonly string[]) =>
    execFileSync('env', ['-i', `PATH=${PATH}`, command, ...args], { cwd: home, encoding: 'utf8' })
  t.match(run(process.execPath, ['library.js']), 'function')

  // Whoever compiles against the library finds its types.
  writeFileSync(
    join(home, 'library.ts'),
    "import { Backend } from 'vhost-user-ts'\nexport type B = Backend\n",
  )
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node']
  const types = ['--typeRoots', join(ROOT, 'node_modules/@types')]
  t.equal(run(join(ROOT, 'node_modules/.bin/tsc'), [...options, ...types, 'library.ts']), '', 'no complaint')
})
