/** `make install`, into an empty directory: everything is where it belongs, and what is installed serves. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const SCRIPT = fileURLToPath(new URL('../../../share/install.sh', import.meta.url))

function install(destdir: string, prefix: string, home = '/root'): void {
  const { PATH } = process.env
  execFileSync(SCRIPT, { env: { PATH, HOME: home, DESTDIR: destdir, PREFIX: prefix }, stdio: 'pipe' })
}

t.test('PREFIX=/usr installs all files', async (t) => {
  const root = tempDir(t)
  install(root, '/usr')
  t.same(readdirSync(root), ['etc', 'usr'], 'nothing is written elsewhere')
  t.same(readdirSync(join(root, 'etc')), ['apparmor.d'])
  for (const unit of ['virtiofsd-ts.service', 'virtiofsd-ts@.service', 'virtiofsd-ts@.socket'])
    t.ok(existsSync(join(root, 'usr/lib/systemd/system', unit)), unit)
  for (const path of [
    'share/man/man1/virtiofsd-ts.1',
    'share/bash-completion/completions/virtiofsd-ts',
    'share/zsh/site-functions/_virtiofsd-ts',
    'share/fish/vendor_completions.d/virtiofsd-ts.fish',
  ])
    t.ok(readFileSync(join(root, 'usr', path), 'utf8').length > 1000, path)

  const json = join(root, 'usr/share/qemu/vhost-user/50-virtiofsd-ts.json')
  const { type, binary } = JSON.parse(readFileSync(json, 'utf8')) as { type: string; binary: string }
  t.equal(type, 'fs')
  const program = realpathSync(join(root, binary))
  const { features } = JSON.parse(execFileSync(program, ['--print-capabilities'], { encoding: 'utf8' }))
  t.ok(features.includes('separate-options'), 'what libvirt starts answers what libvirt asks')

  const modules = readdirSync(join(root, 'usr/lib/virtiofsd-ts/node_modules'))
  t.ok(modules.includes('pino'))
  t.notOk(modules.includes('typescript'), 'nothing that only the build needs')

  const directory = tempDir(t)
  writeFileSync(join(directory, 'file'), 'content')
  const socketPath = join(tempDir(t), 'socket')
  const paths = ['--shared-dir', directory, '--socket-path', socketPath]
  const installed = new RunningProgram(t, paths, [], [], program)
  t.match(await installed.says('"confined"'), '"sandbox":"namespace"')
  const fs = attach(t, { socketPath })
  fs.init()
  t.equal(fs.lookup(1n, 'file').attr.size, 7n)
  fs.close()
  t.same(await installed.exited, { status: 0, signal: null })
  t.match(runProgram(['--help'], [], program).stdout, /^Usage: virtiofsd-ts /)
})

t.test('the description for libvirt names the installed program', async (t) => {
  for (const [prefix, folder] of [
    ['/usr/local', 'etc/qemu/vhost-user'],
    ['/home/somebody/.local', 'home/somebody/.config/qemu/vhost-user'],
  ] as const) {
    const root = tempDir(t)
    install(root, prefix, '/home/somebody')
    const json = readFileSync(join(root, folder, '50-virtiofsd-ts.json'), 'utf8')
    const { binary } = JSON.parse(json) as { binary: string }
    t.equal(binary, `${prefix}/bin/virtiofsd-ts`)
    t.ok(existsSync(join(root, binary)))
    const unit = join(root, prefix, 'lib/systemd/system/virtiofsd-ts@.service')
    if (prefix.startsWith('/home')) t.notOk(existsSync(unit), 'no units of the system in a home')
    else t.match(readFileSync(unit, 'utf8'), `ExecStart=${prefix}/bin/virtiofsd-ts --fd 3`)
  }
})

t.test('a second installation replaces the first', async (t) => {
  const root = tempDir(t)
  const old = join(root, 'opt/lib/virtiofsd-ts/dist/program')
  mkdirSync(old, { recursive: true })
  writeFileSync(join(old, 'old.js'), '')
  install(root, '/opt')
  t.notOk(existsSync(join(old, 'old.js')))
  t.ok(existsSync(join(old, 'main.js')))
})
