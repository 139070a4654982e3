/** In each sandbox every operation works, and the process is confined as its log says. */
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { servingPidOf } from '../../../vm/device/serving-pid.js'
import { allCases } from '../../opcodes/all.js'
import { isRoot, runCases } from '../../support/device/cases.js'
import { Device, sleep } from '../../support/device/device.js'
import { RunningProgram, runProgram } from '../../support/device/program.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const NOBODY = 65534
const POLL_MS = 5
/** CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, MKNOD, SETFCAP. */
const CAPABILITIES = '00000000880000df'

const skip = isRoot ? {} : { skip: 'needs root: namespaces and chroot' }

/** Starts the program on a directory, as its user would, and waits until it is ready. */
async function start(
  t: Test,
  directory: string,
  args: readonly string[] = [],
  launcher: readonly string[] = [],
) {
  const place = tempDir(t)
  // The owner of the directory starts the program.
  const { uid, gid } = statSync(directory)
  if (isRoot) chownSync(place, uid, gid)
  const socketPath = join(place, 'socket')
  const program = new RunningProgram(
    t,
    ['--shared-dir', directory, '--socket-path', socketPath, ...args],
    launcher,
  )
  await program.says('"ready')
  const { pid } = program
  const servingPid = servingPidOf(pid)
  return { program, socketPath, servingPid }
}

/** The values of a field of /proc/PID/task/TID/status, over all threads of a process. */
function ofThreads(pid: number, name: string): readonly string[] {
  const values = readdirSync(`/proc/${pid}/task`).map((tid) => {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8')
    return new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? ''
  })
  return [...new Set(values)]
}

async function until(t: Test, what: string, holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(POLL_MS)
  t.pass(what)
}

t.test(
  'memory that may be locked, of which each io_uring takes some, is raised to the most',
  skip,
  async (t) => {
    const limits = (pid: number | 'self') =>
      /^Max locked memory +(\S+) +(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.slice(1) ?? []
    const [, most] = limits('self')
    for (const sandbox of ['namespace', 'none'] as const) {
      const launcher = ['prlimit', `--memlock=4096:${most}`]
      const device = await Device.start(t, [], { sandbox, launcher })
      t.ok(Number(limits(device.pid)[0]) > 4096, sandbox)
    }
  },
)

for (const sandbox of ['namespace', 'chroot'] as const) {
  t.test(`every opcode in the sandbox ${sandbox}`, skip, async (t) => {
    const device = await Device.start(t, ['--keep-alive'], { sandbox })
    const fs = mount(t, device)
    runCases(t, device, fs, allCases)
    fs.close()
    t.ok(device.alive)
  })

  t.test(`what ${sandbox} leaves a process`, skip, async (t) => {
    const device = await Device.start(t, ['--keep-alive'], { sandbox })
    t.same(ofThreads(device.pid, 'NoNewPrivs'), ['1'])
    t.same(ofThreads(device.pid, 'Seccomp'), ['2'])
    for (const set of ['CapBnd', 'CapPrm', 'CapEff']) t.same(ofThreads(device.pid, set), [CAPABILITIES], set)
    t.same(ofThreads(device.pid, 'Groups'), [''])
    mkdirSync(join(device.directory, 'made on the host'))
    const root = readdirSync(`/proc/${device.pid}/root`)
    t.same(root, sandbox === 'chroot' ? ['made on the host'] : ['s0'])
    for (const tid of readdirSync(`/proc/${device.pid}/task`)) {
      t.same(readdirSync(`/proc/${device.pid}/task/${tid}/root`), root, 'on every thread')
    }
  })
}

t.test('the process has namespaces of its own', skip, async (t) => {
  const device = await Device.start(t, ['--keep-alive'], { sandbox: 'namespace' })
  for (const kind of ['mnt', 'net', 'ipc', 'pid']) {
    t.not(readlinkSync(`/proc/${device.pid}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`), kind)
  }
})

t.test('descriptors that the program was started with by mistake stay outside', skip, async (t) => {
  const withRoot = ['bash', '-c', 'exec 300</ && exec "$0" "$@"']
  const device = await Device.start(t, ['--keep-alive'], { sandbox: 'namespace', launcher: withRoot })
  t.notOk(existsSync(`/proc/${device.pid}/fd/300`))
})

t.test('without file handles the process has no capability for them', skip, async (t) => {
  const device = await Device.start(t, ['--inode-file-handles', 'never'], { sandbox: 'namespace' })
  t.same(ofThreads(device.pid, 'CapBnd'), ['00000000880000db'])
})

t.test('a read-only share is read-only for the host too', skip, async (t) => {
  const device = await Device.start(t, ['--keep-alive', '--readonly'], { sandbox: 'namespace' })
  const mounts = readFileSync(`/proc/${device.pid}/mountinfo`, 'utf8').split('\n')
  const options = mounts.find((line) => line.split(' ')[4] === '/s0')?.split(' ')[5]
  t.same(options?.split(',').slice(0, 4), ['ro', 'nosuid', 'nodev', 'noexec'])
})

t.test('a trace is written where it was asked for', skip, async (t) => {
  const trace = join(tempDir(t), 'trace')
  const device = await Device.start(t, ['--trace', trace], { sandbox: 'namespace' })
  const fs = mount(t, device)
  fs.getattr(1n)
  fs.close()
  t.equal((await device.exited()).status, 0)
  t.ok(statSync(trace).size > 0)
})

t.test('the sockets go with the process, however it ends', skip, async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const device = await Device.start(t, ['--keep-alive'], { sandbox: 'namespace' })
    device.kill(signal)
    t.same(await device.exited(), { status: 0, signal: null }, signal)
    t.notOk(existsSync(device.socketPath))
    t.notOk(existsSync(`${device.socketPath}.pid`))
  }
})

t.test('the started process ends with the status of the process that serves', skip, async (t) => {
  const { program, socketPath, servingPid } = await start(t, tempDir(t))
  t.equal(
    readFileSync(`${socketPath}.pid`, 'utf8').trim(),
    `${program.pid}`,
    'the pid is that of the process that was started',
  )
  process.kill(servingPid, 'SIGKILL')
  t.equal((await program.exited).status, 128 + 9)
  t.notOk(existsSync(socketPath))
})

t.test('when the started process is killed, the process that serves ends too', skip, async (t) => {
  for (const sandbox of ['namespace', 'chroot']) {
    const { program, servingPid } = await start(t, tempDir(t), ['--sandbox', sandbox])
    program.kill('SIGKILL')
    await program.exited
    await until(t, `${sandbox}: ended too`, () => !existsSync(`/proc/${servingPid}/exe`))
  }
})

t.test('an ordinary user gets a user namespace', skip, async (t) => {
  const directory = tempDir(t)
  chownSync(directory, NOBODY, NOBODY)
  const launcher = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all']
  const { program, servingPid } = await start(t, directory, [], launcher)
  t.match(program.stderr, /"sandbox":"namespace","userNamespace":true,"capabilities":\[\]/)
  t.same(ofThreads(servingPid, 'CapEff'), ['0000000000000000'])
  t.same(ofThreads(servingPid, 'Seccomp'), ['2'])
  program.kill('SIGTERM')
  t.equal((await program.exited).status, 0)
})

t.test('if the sandbox cannot be made, the start fails and nothing is served', skip, async (t) => {
  const directory = tempDir(t)
  chownSync(directory, NOBODY, NOBODY)
  const socketPath = join(tempDir(t), 'socket')
  const share = ['--shared-dir', directory, '--socket-path', socketPath]
  t.match(runProgram(share, ['setpriv', '--bounding-set', '-sys_admin']), {
    status: 2,
    stderr: 'virtiofsd-ts: --sandbox namespace: cannot make namespaces: Operation not permitted',
  })
  t.notOk(existsSync(socketPath))
  t.notOk(existsSync(`${socketPath}.pid`))
  const ordinary = ['setpriv', `--reuid=${NOBODY}`, '--inh-caps=-all']
  t.match(runProgram([...share, '--sandbox', 'chroot'], ordinary), {
    status: 2,
    stderr: 'virtiofsd-ts: --sandbox chroot needs root: use --sandbox namespace',
  })
  const second = ['--share', `path=${directory},socket=${join(tempDir(t), 'other')}`]
  t.match(runProgram([...share, ...second, '--sandbox', 'chroot']), { status: 2, stderr: /holds one share/ })
  t.match(runProgram([...share, '--trace', join(directory, 'trace'), '--sandbox', 'chroot']), {
    status: 2,
    stderr: /--trace/,
  })
})

t.test('without a sandbox root keeps the same capabilities, and is one process', skip, async (t) => {
  const directory = tempDir(t)
  const socketPath = join(tempDir(t), 'socket')
  const paths = ['--shared-dir', directory, '--socket-path', socketPath]
  const program = new RunningProgram(t, [...paths, '--sandbox', 'none'])
  await program.says('"ready')
  const { pid } = program
  for (const set of ['CapBnd', 'CapPrm', 'CapEff']) t.same(ofThreads(pid, set), [CAPABILITIES], set)
  t.same(ofThreads(pid, 'NoNewPrivs'), ['1'])
  t.same(ofThreads(pid, 'Groups'), [''])
  t.equal(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), '', 'no supervisor')
  t.match(runProgram(paths), { status: 2, stderr: /in use by another process/ })
  program.kill('SIGTERM')
  t.equal((await program.exited).status, 0)
  t.notOk(existsSync(socketPath))
  t.notOk(existsSync(`${socketPath}.pid`))
})

t.test('without a sandbox, --modcaps changes the capabilities that are kept', skip, async (t) => {
  const device = await Device.start(t, ['--modcaps', '+sys_admin:-MKNOD'])
  t.same(ofThreads(device.pid, 'CapEff'), ['00000000802000df'])
  const ordinary = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all']
  const another = await Device.start(t, [], { launcher: ordinary, owner: NOBODY })
  t.same(ofThreads(another.pid, 'CapEff'), ['0000000000000000'], 'an ordinary user has none')
})

t.test('without a sandbox, a root that cannot change its bounding set serves', skip, async (t) => {
  const device = await Device.start(t, [], { launcher: ['setpriv', '--bounding-set', '-setpcap'] })
  t.same(ofThreads(device.pid, 'CapEff'), [CAPABILITIES])
})

t.test('--modcaps changes the capabilities that are kept', skip, async (t) => {
  const device = await Device.start(t, ['--modcaps', '+sys_admin:-MKNOD'], { sandbox: 'namespace' })
  t.same(ofThreads(device.pid, 'CapEff'), ['00000000802000df'])
  const share = ['--shared-dir', tempDir(t), '--socket-path', join(tempDir(t), 'socket')]
  t.match(runProgram([...share, '--modcaps', 'MKNOD']), { status: 2, stderr: /begins with neither/ })
  t.match(runProgram([...share, '--modcaps', '+MKNODE']), {
    status: 2,
    stderr: /no capability 'MKNODE'.*MKNOD/,
  })
})
