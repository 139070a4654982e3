/** Starting, serving and ending, as the user of the program sees it. */
import { existsSync, linkSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { dashed } from '../../src/config/option-spec.js'
import { optionTable } from '../../src/config/option-table.js'
import { servingPidOf } from '../../vm/device/serving-pid.js'
import { descriptorsOf } from '../../vm/host/descriptors-of.js'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

/** FUSE_DIRECT_IO_ALLOW_MMAP is bit 36. */
const GUEST_6_12 = { minor: 41 }

/** The program on a directory of its own, ready. */
async function start(t: Test, args: readonly string[] = []) {
  const directory = tempDir(t)
  const socketPath = join(tempDir(t), 'fs,socket')
  const program = new RunningProgram(t, ['--shared-dir', directory, '--socket-path', socketPath, ...args])
  const ready = JSON.parse(await program.says('"ready')) as {
    qemu: string
    directory: string
    asyncIo: string
  }
  return { directory, socketPath, program, ready }
}

t.test('it prints the QEMU arguments that attach the share, as JSON off a terminal', async (t) => {
  const { socketPath, directory, ready } = await start(t, ['--tag', 'my,tag', '--queue-threads', '1'])
  t.equal(ready.directory, directory)
  t.equal(
    ready.qemu,
    `-m 4G -object memory-backend-memfd,id=mem,size=4G,share=on -numa node,memdev=mem -chardev socket,id=fs0,path=${socketPath.replace(',', ',,')} -device vhost-user-fs-pci,queue-size=1024,chardev=fs0,tag=my,,tag`,
  )
})

t.test('the QEMU arguments offer a queue to each thread that may serve one', async (t) => {
  const { ready } = await start(t, ['--queue-threads', '3'])
  t.match(ready.qemu, /-device vhost-user-fs-pci,.*,tag=share,num-request-queues=3$/)
  const { ready: alone } = await start(t, ['--queue-threads', '3', '--flock'])
  t.match(alone.qemu, /,tag=share$/, 'one thread serves all queues')
})

t.test('it says if io_uring or threads do the work that would block', async (t) => {
  const { program, ready } = await start(t)
  const hasRing = descriptorsOf(servingPidOf(program.pid)).some((name) => name.includes('io_uring'))
  t.equal(ready.asyncIo, hasRing ? 'io_uring' : 'threads')
})

t.test('only its user may connect', async (t) => {
  const { socketPath } = await start(t)
  t.equal(statSync(socketPath).mode & 0o777, 0o600)
})

for (const sandbox of ['none', 'namespace']) {
  t.test(`signals end it at once (--sandbox ${sandbox})`, async (t) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      const { socketPath, program } = await start(t, ['--sandbox', sandbox])
      const fs = attach(t, { socketPath })
      fs.init()
      program.kill(signal)
      t.same(await program.exited, { status: 0, signal: null }, `${signal}, with a guest that has mounted`)
      t.notOk(existsSync(socketPath), 'no socket is left')
      t.notOk(existsSync(`${socketPath}.pid`))
    }
  })

  t.test(`a front-end that leaves ends it with 0 (--sandbox ${sandbox})`, async (t) => {
    const { socketPath, program } = await start(t, ['--sandbox', sandbox])
    const fs = attach(t, { socketPath })
    fs.init()
    fs.close()
    t.same(await program.exited, { status: 0, signal: null })
    t.notOk(existsSync(socketPath))
  })

  t.test(`it listens again (--keep-alive --sandbox ${sandbox})`, async (t) => {
    const { socketPath } = await start(t, ['--keep-alive', '--sandbox', sandbox])
    for (let n = 0; n < 3; n++) {
      const fs = attach(t, { socketPath })
      fs.init()
      t.equal(fs.getattr(1n).attr.mode & 0o40000, 0o40000)
      fs.close()
    }
    t.ok(existsSync(socketPath))
  })
}

t.test('one line at INIT says what was agreed on, and what follows for direct I/O', async (t) => {
  const { socketPath, program } = await start(t, ['--cache', 'never', '--allow-mmap', '--parallel-dio'])
  attach(t, { socketPath }).init(GUEST_6_12)
  const line = JSON.parse(await program.says('guest mounted the share'))
  t.match(line, {
    guest: '7.41 (Linux 6.9 or later)',
    allowMmap: 'on: MAP_SHARED of a direct-io file works',
    parallelDio: 'on: non-extending writes to one file overlap, except while it is mapped shared',
  })
})

t.test('a stale socket is replaced', async (t) => {
  const directory = tempDir(t)
  const socketPath = join(tempDir(t), 'socket')
  const { stdout } = runProgram(['--version'])
  t.match(stdout, /^\d+\.\d+\.\d+$/)
  const server = createServer().listen(socketPath)
  await new Promise((resolve) => server.on('listening', resolve))
  // Node removes the file of a socket it closes: keep it by another name.
  linkSync(socketPath, `${socketPath}.kept`)
  await new Promise((resolve) => server.close(resolve))
  renameSync(`${socketPath}.kept`, socketPath)
  const program = new RunningProgram(t, ['--shared-dir', directory, '--socket-path', socketPath])
  await program.says('"ready')
  attach(t, { socketPath }).init()
  await program.says('guest mounted the share')
})

t.test('two programs do not share a socket', async (t) => {
  const { socketPath, directory, program } = await start(t)
  const { status, stderr } = runProgram(['--shared-dir', directory, '--socket-path', socketPath])
  t.equal(status, 2)
  t.match(stderr, /in use by another process/)
  t.equal(readFileSync(`${socketPath}.pid`, 'utf8').trim(), `${program.pid}`)
  attach(t, { socketPath }).init()
})

t.test('--help lists every option; the commands have help of their own', async (t) => {
  const { status, stdout, stderr } = runProgram(['--help'])
  t.equal(status, 0)
  t.equal(stderr, '')
  for (const { name, negated } of optionTable)
    t.match(stdout, new RegExp(` ${negated ? `--no-${name}` : dashed(name)} `), name)
  for (const line of stdout.split('\n')) t.ok(line.length <= 80, line)
  for (const command of ['ctl', 'trace', 'check-config']) {
    const help = runProgram([command, '--help'])
    t.equal(help.status, 0)
    t.match(help.stdout, new RegExp(`^Usage: virtiofsd-ts ${command}`))
    t.ok(help.stdout.split('\n').length < 70, `${command}: the options of the program are not listed again`)
  }
})

t.test('check-config explains which rule wins', async (t) => {
  const directory = tempDir(t)
  const config = join(tempDir(t), 'shares.toml')
  writeFileSync(
    config,
    `[[share]]\ntag = "data"\npath = "${directory}"\nsocket = "${tempDir(t)}/s"\n
[[share.rule]]\nmatch = "db/**"\ncache = "never"\nparallel-dio = true\n`,
  )
  const { status, stdout } = runProgram(['check-config', '--config', config, 'db/main.sqlite', 'O_RDWR'])
  t.equal(status, 0)
  t.match(
    stdout,
    /open: +rule 1 .*shares\.toml:6\) wins: db\/\*\*; the guest gets DIRECT_IO\|PARALLEL_DIRECT_WRITES/,
  )
  t.match(
    runProgram(['check-config', '--config', config, 'elsewhere', 'O_RDWR']).stdout,
    /open: +no rule applies/,
  )
})
