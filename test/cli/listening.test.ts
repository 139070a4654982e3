/** Where the program listens, and where it logs: its own sockets, inherited sockets, and the system's log. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { isRoot } from '../support/device/cases.js'
import { receiveDatagrams } from '../support/device/datagram-receiver.js'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const NOGROUP = 65534
const sandboxes = isRoot ? ['none', 'namespace', 'chroot'] : ['none', 'namespace']

/** A shared directory, and a place beside it. */
function place(t: Test) {
  const home = tempDir(t)
  const directory = join(home, 'share')
  mkdirSync(directory)
  writeFileSync(join(directory, 'file'), 'content')
  return { directory, socketPath: join(home, 'socket') }
}

for (const sandbox of sandboxes) {
  t.test(`--fd serves a listening socket (--sandbox ${sandbox})`, async (t) => {
    const { directory, socketPath } = place(t)
    const fd = native.unixListen(socketPath, 0o600)
    const program = new RunningProgram(
      t,
      ['--shared-dir', directory, '--fd=3', '--sandbox', sandbox],
      [],
      [fd],
    )
    native.close(fd)
    const ready = JSON.parse(await program.says('"ready')) as { qemu: string }
    t.match(ready.qemu, `path=${socketPath} `, 'the socket knows its path')
    const fs = attach(t, { socketPath })
    fs.init()
    t.equal(fs.lookup(1n, 'file').attr.size, 7n)
    fs.close()
    t.same(await program.exited, { status: 0, signal: null })
    t.ok(existsSync(socketPath), 'it belongs to who made it')
    t.notOk(existsSync(`${socketPath}.pid`), 'and no lock is made')
  })
}

t.test(
  '--socket-group gives the socket to the group',
  { skip: !isRoot && 'needs root: to give a file to another group' },
  async (t) => {
    const { directory, socketPath } = place(t)
    const paths = ['--shared-dir', directory, '--socket-path', socketPath]
    const program = new RunningProgram(t, [...paths, '--socket-group', `${NOGROUP}`])
    await program.says('"ready')
    const { mode, gid } = statSync(socketPath)
    t.equal(mode & 0o777, 0o660)
    t.equal(gid, NOGROUP)
    program.kill('SIGTERM')
    await program.exited
    const launcher = ['setpriv', '--bounding-set', '-chown', '--inh-caps=-chown']
    t.match(runProgram([...paths, '--socket-group', `${NOGROUP}`], launcher), {
      status: 2,
      stderr: `virtiofsd-ts: --socket-path ${socketPath}: cannot be given to the group ${NOGROUP} (EPERM)`,
    })
    t.notOk(existsSync(socketPath))
  },
)

t.test('the lock file names the process that holds the socket', async (t) => {
  const { directory, socketPath } = place(t)
  const program = new RunningProgram(t, ['--shared-dir', directory, '--socket-path', socketPath])
  await program.says('"ready')
  t.equal(readFileSync(`${socketPath}.pid`, 'utf8'), `${program.pid}\n`)
})

for (const sandbox of sandboxes) {
  t.test(`--syslog sends messages to the system log (--sandbox ${sandbox})`, async (t) => {
    const { directory, socketPath } = place(t)
    const logSocket = join(tempDir(t), 'log')
    const { next, kill } = await receiveDatagrams(t, logSocket)
    const args = ['--shared-dir', directory, '--socket-path', socketPath, '--sandbox', sandbox]
    const program = new RunningProgram(t, [...args, `--syslog=${logSocket}`])
    t.match(await next(), /^<30>virtiofsd-ts\[\d+\]: confined {"sandbox":"/)
    t.match(await next(), /^<30>virtiofsd-ts\[\d+\]: ready: attach this share/)
    const fs = attach(t, { socketPath })
    fs.init()
    t.match(await next(), /front-end connected/)
    t.match(await next(), /guest mounted the share {"guest":"7\.\d+/)
    kill()
    t.equal(fs.lookup(1n, 'file').attr.size, 7n)
    fs.close()
    t.same(await program.exited, { status: 0, signal: null }, 'a log that has gone stops nobody')
    t.equal(program.stderr, '')
  })
}

t.test('without a system log its messages go to standard error', async (t) => {
  const { directory, socketPath } = place(t)
  const socket = join(tempDir(t), 'none')
  const args = ['--shared-dir', directory, '--socket-path', socketPath, `--syslog=${socket}`]
  const program = new RunningProgram(t, args)
  t.match(JSON.parse(await program.says('no system log')), { level: 40, socket })
  await program.says('"ready')
})

t.test('--print-capabilities prints them, whatever else is given', async (t) => {
  const { status, stdout, stderr } = runProgram(['--no-such-option', '--print-capabilities', '--cache=x'])
  t.equal(status, 0)
  t.equal(stderr, '')
  const { type, features } = JSON.parse(stdout) as { type: string; features: string[] }
  t.equal(type, 'fs')
  t.ok(features.includes('separate-options'))
  t.ok(features.includes('migrate-precopy'), 'libvirt lets guests migrate')
})
