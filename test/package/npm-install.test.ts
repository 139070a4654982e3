/**
 * The npm packages as npm installs them without any install script: packed, installed into an empty folder with the
 * dependencies of the registry, and started in its sandbox. `make test-package` runs it.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PACKAGES = ['virtiofsd-ts', 'virtiofsd-ts-native', 'vhost-user-ts', 'virtio-fs-ts']
const PREBUILDS = ['linux-arm64', 'linux-x64'].flatMap((place) =>
  ['launcher', 'native.glibc.node', 'native.musl.node'].map((file) => `prebuilds/${place}/${file}`),
)

t.setTimeout(300_000)

/** Without the additions of the test runner and make to the environment, with which the TypeScript compiler fails. */
const npm = (cwd: string, args: readonly string[]) => {
  const { PATH, HOME } = process.env
  execFileSync('env', ['-i', `PATH=${PATH}`, `HOME=${HOME}`, 'npm', ...args], { cwd, stdio: 'pipe' })
}

/** Serves a directory to a guest that this test plays, and ends. */
async function serves(t: Test, program: string): Promise<RunningProgram> {
  const directory = tempDir(t)
  writeFileSync(join(directory, 'file'), 'content')
  const socketPath = join(tempDir(t), 'socket')
  const paths = ['--shared-dir', directory, '--socket-path', socketPath]
  const running = new RunningProgram(t, paths, [], [], program)
  t.match(await running.says('"confined"'), '"sandbox":"namespace"')
  const fs = attach(t, { socketPath })
  fs.init()
  t.equal(fs.lookup(1n, 'file').attr.size, 7n)
  t.match(await running.says('guest mounted'), '"ioctl":"virtiofsd-ts-native"')
  fs.close()
  t.same(await running.exited, { status: 0, signal: null })
  return running
}

t.test('the packages are packed, installed and started', async (t) => {
  const packed = tempDir(t)
  const home = tempDir(t)
  npm(ROOT, ['pack', '--workspaces', '--include-workspace-root', '--pack-destination', packed])
  const tarballs = readdirSync(packed).map((name) => join(packed, name))
  t.equal(tarballs.length, PACKAGES.length)
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }')
  npm(home, ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs])
  const modules = join(home, 'node_modules')

  t.test('what the packages bring', async (t) => {
    for (const name of PACKAGES) {
      const manifest = JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8'))
      t.same(
        Object.keys(manifest.scripts ?? {}).filter((script) => /install|prepare/.test(script)),
        [],
      )
      t.notOk(existsSync(join(modules, name, 'binding.gyp')), `${name}: npm has nothing to compile`)
      t.ok(existsSync(join(modules, name, 'LICENSE')), `${name}: LICENSE`)
      t.notOk(existsSync(join(modules, name, 'docs')), `${name}: no docs`)
    }
    for (const file of PREBUILDS)
      t.equal(statSync(join(modules, 'virtiofsd-ts-native', file)).mode & 0o777, 0o755, file)
    const main = readFileSync(join(modules, 'virtiofsd-ts/dist/program/main.js'), 'utf8')
    t.match(main, '//# sourceMappingURL=main.js.map')
    const map = JSON.parse(readFileSync(join(modules, 'virtiofsd-ts/dist/program/main.js.map'), 'utf8'))
    t.match(map.sourcesContent.join(''), 'virtiofsd-ts: serves', 'a source map has its sources in it')
  })

  const program = join(modules, '.bin/virtiofsd-ts')
  t.match(runProgram(['--help'], [], program).stdout, /^Usage: virtiofsd-ts /)
  await serves(t, program)

  writeFileSync(
    join(home, 'library.js'),
    "import { Backend } from 'vhost-user-ts'\nconsole.log(typeof Backend)\n",
  )
  // Without the additions of the test runner to the environment, with which the TypeScript compiler fails.
  const { PATH } = process.env
  const run = (command: string, args: readonly string[]) =>
    execFileSync('env', ['-i', `PATH=${PATH}`, command, ...args], { cwd: home, encoding: 'utf8' })
  t.match(run(process.execPath, ['library.js']), 'function')
  const tsc = join(ROOT, 'node_modules/.bin/tsc')

  t.test('the entries and their types are found, as Node and as bundlers look for them', async (t) => {
    const attw = join(ROOT, 'node_modules/.bin/attw')
    for (const tarball of tarballs.filter((path) => !path.includes('/virtiofsd-ts-0')))
      t.doesNotThrow(() => run(attw, ['--profile', 'esm-only', tarball]), tarball)
  })

  t.test("the compiler reports wrong uses of the library's types, and nothing else", async (t) => {
    copyFileSync(join(ROOT, 'test/package/library-types.ts'), join(home, 'library.ts'))
    copyFileSync(join(ROOT, 'test/package/file-system-types.ts'), join(home, 'file-system.ts'))
    copyFileSync(join(modules, 'vhost-user-ts/examples/block-device.js'), join(home, 'block-device.js'))
    const common = ['--noEmit', '--strict', '--target', 'es2023', '--types', 'node']
    const types = ['--typeRoots', join(ROOT, 'node_modules/@types'), '--checkJs', '--allowJs']
    for (const resolution of [
      ['--module', 'node16'],
      ['--module', 'nodenext'],
      ['--module', 'esnext', '--moduleResolution', 'bundler'],
    ]) {
      const args = [...common, ...resolution, ...types, 'library.ts', 'file-system.ts', 'block-device.js']
      const { stdout, status } = spawnSync('env', ['-i', `PATH=${PATH}`, tsc, ...args], {
        cwd: home,
        encoding: 'utf8',
      })
      t.same([stdout, status], ['', 0], resolution.join(' '))
    }
  })

  t.test("the tutorial's code, as it is printed, but for its socket", async (t) => {
    const tutorial = readFileSync(join(ROOT, 'docs/own-file-system.md'), 'utf8')
    const code = [...tutorial.matchAll(/```js\n\/\/ (\S+)\n([\s\S]*?)```/g)]
    for (const [, name = '', text = ''] of code) {
      const socketPath = join(home, `${name}.sock`)
      writeFileSync(join(home, name), text.replace('/tmp/hello.sock', socketPath))
      const words = [process.execPath, name]
      const served = ['--file-system', join(home, name), '--socket-path', socketPath]
      if (name === 'in-memory.mjs') npm(home, ['install', '--no-audit', '--no-fund', 'memfs'])
      const isProgram = text.includes('serveFileSystem')
      const running = isProgram ? undefined : new RunningProgram(t, served, [], [], program)
      if (running === undefined) {
        const child = spawn('env', ['-i', `PATH=${PATH}`, ...words], {
          cwd: home,
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        t.teardown(() => child.kill('SIGKILL'))
        const [said] = await once(child.stdout, 'data')
        t.match(String(said), socketPath)
      } else await running.says('ready')
      const fs = attach(t, { socketPath })
      fs.init()
      t.ok(fs.readdir(1n, fs.opendir(1n).handle, 0n).length >= 2, name)
      fs.close()
    }
    t.equal(code.length, 4)
  })

  t.test('without a fitting addon, a line says what to type, and that command works', async (t) => {
    const native = join(modules, 'virtiofsd-ts-native')
    rmSync(join(native, 'prebuilds'), { recursive: true })
    const args = ['--shared-dir', tempDir(t), '--socket-path', join(home, 'socket')]
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    t.equal(status, 1)
    t.match(stderr, /^virtiofsd-ts: the addon is missing: .*"make -C \S+" compiles it.*\n$/)
    const [, command] = /"(make -C \S+)"/.exec(stderr) as unknown as [string, string]
    execFileSync('sh', ['-c', command], { stdio: 'pipe' })
    await serves(t, program)
  })
})
