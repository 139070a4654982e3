/** The messages of sd_notify(3) reach a service manager from each sandbox. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { servingPidOf } from '../../vm/device/serving-pid.js'
import { isRoot } from '../support/device/cases.js'
import { receiveDatagrams } from '../support/device/datagram-receiver.js'
import { RunningProgram } from '../support/device/program.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const sandboxes = isRoot ? ['none', 'namespace', 'chroot'] : ['none', 'namespace']

for (const sandbox of sandboxes) {
  t.test(`the service manager is told ready, alive and stopping (--sandbox ${sandbox})`, async (t) => {
    const home = tempDir(t)
    // --sandbox chroot serves only one share.
    const names = sandbox === 'chroot' ? ['one'] : ['one', 'two']
    const shares = names.map((name) => {
      const path = join(home, name)
      mkdirSync(path)
      writeFileSync(join(path, 'file'), 'content')
      return { path, socketPath: `${path}.sock` }
    })
    const manager = await receiveDatagrams(t, join(home, 'notify'))
    const environment = ['env', `NOTIFY_SOCKET=${join(home, 'notify')}`, 'WATCHDOG_USEC=200000']
    const program = new RunningProgram(
      t,
      [
        ...['--sandbox', sandbox],
        ...shares.flatMap(({ path, socketPath }) => ['--share', `path=${path},socket=${socketPath}`]),
      ],
      environment,
    )
    t.equal(await manager.next(), `READY=1\nSTATUS=Serving ${shares.map(({ path }) => path).join(', ')}`)
    t.equal(await manager.next(), 'WATCHDOG=1')
    for (const { socketPath } of shares) {
      const fs = attach(t, { socketPath })
      fs.init()
      t.equal(fs.lookup(1n, 'file').attr.size, 7n, 'what is ready can be connected to')
    }
    t.equal(await manager.next(), 'WATCHDOG=1', 'again and again')
    program.kill('SIGTERM')
    let last = await manager.next()
    while (last === 'WATCHDOG=1') last = await manager.next()
    t.equal(last, 'STOPPING=1')
    t.same(await program.exited, { status: 0, signal: null })
  })
}

t.test('a watchdog for another process, and a missing manager, are ignored', async (t) => {
  const home = tempDir(t)
  const manager = await receiveDatagrams(t, join(home, 'notify'))
  const environment = ['env', `NOTIFY_SOCKET=${join(home, 'notify')}`, 'WATCHDOG_USEC=1000', 'WATCHDOG_PID=1']
  const args = ['--shared-dir', tempDir(t), '--socket-path', join(home, 'socket')]
  const program = new RunningProgram(t, args, environment)
  t.match(await manager.next(), 'READY=1')
  program.kill('SIGTERM')
  t.equal(await manager.next(), 'STOPPING=1', 'nothing in between')
  await program.exited
  manager.kill()
  const without = new RunningProgram(t, args, environment)
  await without.says('"ready')
  without.kill('SIGTERM')
  t.same(await without.exited, { status: 0, signal: null })
})

t.test(
  'a process with a watchdog serves its only share on another thread, which may wait for the host',
  async (t) => {
    const home = tempDir(t)
    await receiveDatagrams(t, join(home, 'notify'))
    const threads = async (environment: readonly string[]) => {
      const socketPath = join(tempDir(t), 'socket')
      const args = ['--shared-dir', tempDir(t), '--socket-path', socketPath, '--sandbox', 'namespace']
      const program = new RunningProgram(t, args, [
        'env',
        `NOTIFY_SOCKET=${join(home, 'notify')}`,
        ...environment,
      ])
      await program.says('"ready')
      return readdirSync(`/proc/${servingPidOf(program.pid)}/task`).length
    }
    t.equal(await threads(['WATCHDOG_USEC=60000000']), (await threads([])) + 1)
  },
)
